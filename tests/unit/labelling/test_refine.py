import numpy as np
import pytest
import torch

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.labelling.assign import assign_labels, evidence, label_map
from dataset_diffusion.labelling.maps import resize
from dataset_diffusion.labelling.refine import DILATIONS, ITERATIONS, TEMPERATURE, refine_heatmaps, refine_small
from dataset_diffusion.records import Heatmaps

REFINED = LabelSettings(exponent=0, threshold=0.5, uncertainty_threshold=0.5, refine="pamr")


def two_halves(height, width, border, low=40, high=200):
    """An image that is dark left of a column and bright from it on."""
    image = np.full((height, width, 3), low, np.uint8)
    image[:, border:] = high
    return image


def slow_refinement(maps, image):
    """The published formula, pixel by pixel and neighbour by neighbour."""
    height, width = image.shape[:2]
    colors = image.astype(float)
    steps = [(d * y, d * x) for d in DILATIONS for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]

    def near(row, column):
        return [(min(max(row + y, 0), height - 1), min(max(column + x, 0), width - 1)) for y, x in steps]

    for _ in range(ITERATIONS):
        averaged = np.zeros_like(maps)
        for row in range(height):
            for column in range(width):
                places = near(row, column)
                spread = np.std([colors[row, column], *(colors[place] for place in places)], axis=0)
                logits = [
                    -np.mean(np.abs(colors[place] - colors[row, column]) / (TEMPERATURE * spread + 1e-8))
                    for place in places
                ]
                shares = np.exp(logits - np.max(logits))
                shares /= shares.sum()
                for share, place in zip(shares, places, strict=True):
                    averaged[:, row, column] += share * maps[(slice(None), *place)]
        maps = averaged
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / (high - low)


def test_the_fast_way_computes_the_published_formula():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (7, 6, 3), dtype=np.uint8)
    maps = random.random((2, 7, 6))
    expected = slow_refinement(maps, image)
    np.testing.assert_allclose(refine_heatmaps(torch.from_numpy(maps).float(), image).numpy(), expected, atol=1e-4)


def test_a_pixel_listens_to_its_own_colour_alone():
    # Dark and bright differ by 160, and the spread of two colours is at most 80: a neighbour of the other colour weighs
    # exp(-160 / (0.1 * 80)) = exp(-20) of one of its own. So the blurred object ends where the bright half begins.
    image = two_halves(16, 32, border=20)
    blurred = torch.linspace(0, 1, 32).expand(1, 16, 32).clone()
    refined = refine_heatmaps(blurred, image)[0]
    assert refined[:, :20].max() < 0.5 < refined[:, 20:].min()
    assert (blurred[0, :, 16:20] > 0.5).all()


def test_an_image_of_one_colour_averages_all_neighbours_alike():
    maps = torch.zeros(1, 61, 61)
    maps[0, 30, 30] = 1.0
    refined = refine_heatmaps(maps, np.full((61, 61, 3), 90, np.uint8))[0]
    assert (refined > 0).sum() > 1000
    for turned in (refined.T, refined.flip(0), refined.flip(1)):
        torch.testing.assert_close(turned, refined)


def test_peaks_are_lifted_to_one_again():
    refined = refine_heatmaps(torch.rand(3, 12, 9, generator=torch.Generator().manual_seed(0)), two_halves(12, 9, 4))
    np.testing.assert_array_equal(refined.amax((1, 2)), np.ones(3, np.float32))
    np.testing.assert_array_equal(refined.amin((1, 2)), np.zeros(3, np.float32))


def test_a_class_without_a_heatmap_stays_without():
    assert not refine_heatmaps(torch.zeros(1, 8, 8), two_halves(8, 8, 3)).any()


def test_classes_do_not_see_one_another():
    maps = torch.rand(2, 10, 11, generator=torch.Generator().manual_seed(1))
    image = np.random.default_rng(1).integers(0, 256, (10, 11, 3), dtype=np.uint8)
    alone = torch.cat([refine_heatmaps(one[None], image) for one in maps])
    assert torch.equal(refine_heatmaps(maps, image), alone)


def test_the_number_of_threads_changes_no_bit():
    # Relabelling works in processes of one thread each, and must give the label maps that drawing gave.
    maps = torch.rand(2, 131, 77, generator=torch.Generator().manual_seed(2))
    image = np.random.default_rng(2).integers(0, 256, (131, 77, 3), dtype=np.uint8)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = refine_heatmaps(maps, image)
        torch.set_num_threads(3)
        assert torch.equal(refine_heatmaps(maps, image), alone)
    finally:
        torch.set_num_threads(before)


def heatmaps_of(*rows):
    values = np.array([[[row] for row in rows]], np.float16)
    return Heatmaps((0,), values, np.zeros((1, len(rows), 2), np.float32))


def test_a_label_map_is_refined_at_the_size_of_the_image():
    image = two_halves(24, 48, border=30)
    heatmaps = heatmaps_of([0.0, 0.0, 1.0, 1.0])
    plain = label_map(heatmaps, [7], (24, 48), REFINED.model_copy(update={"refine": "none"}))
    refined = label_map(heatmaps, [7], (24, 48), REFINED, image=image)
    assert np.unique(plain[:, 24:30]).tolist() == [7]
    np.testing.assert_array_equal(refined, np.where(image[..., 0] == 200, 7, 0))


def test_a_refined_label_map_follows_the_thresholds():
    image = two_halves(16, 16, border=9)
    heatmaps = heatmaps_of([0.1, 0.3, 0.8, 1.0], [0.9, 0.6, 0.3, 0.0])
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(heatmaps.values[0])[None].float(), size=(16, 16), mode="bicubic", align_corners=False
    )[0]
    expected = assign_labels(refine_heatmaps(resized, image), [3, 5], (16, 16), 0.7, 0.2)
    settings = LabelSettings(exponent=0, threshold=0.7, uncertainty_threshold=0.2, refine="pamr")
    np.testing.assert_array_equal(label_map(heatmaps, [3, 5], (16, 16), settings, image=image), expected)


@pytest.mark.parametrize(
    ("image", "got"), [(None, "no image"), (np.zeros((4, 5, 3), np.uint8), "an image of 4 x 5 pixels")]
)
def test_refinement_without_its_image_is_refused(image, got):
    with pytest.raises(ConfigError, match=rf"^refinement needs the labelled image; got {got}; expected 5 x 4 pixels$"):
        label_map(heatmaps_of([0.0, 1.0]), [1], (5, 4), REFINED, image=image)


def test_a_small_picture_is_refined_as_it_is():
    random = np.random.default_rng(1)
    image, maps = (
        random.integers(0, 256, (40, 56, 3), dtype=np.uint8),
        torch.from_numpy(random.random((2, 5, 7), np.float32)),
    )
    assert torch.equal(refine_small(maps, image, side=56), refine_heatmaps(resize(maps, (40, 56)), image))


def test_a_large_picture_is_refined_on_a_smaller_copy_with_smaller_distances():
    """The border moves to that of the picture, at a quarter of its size."""
    image, maps = two_halves(160, 256, border=152), torch.zeros(1, 10, 16)
    maps[..., :9] = 1  # the attention's own border is at 144
    refined = refine_small(maps, image, side=64)
    assert refined.shape == (1, 40, 64)
    assert refined[0, :, :37].min() > 0.85
    assert refined[0, :, 39:].max() < 0.1


@pytest.mark.parametrize("refine", ["pamr", "fast"])
def test_refinement_keeps_the_range_of_every_map(refine):
    """Probabilities that are nowhere high stay so: nothing is lifted to 1."""
    image = two_halves(32, 32, border=18)
    values = np.zeros((1, 2, 4, 4), np.float16)
    values[0, 0, :, :2], values[0, 1] = 0.75, 0.25
    heatmaps = Heatmaps((0,), values, np.zeros((1, 2, 2), np.float32) + 0.5)
    settings = REFINED.model_copy(update={"refine": refine})
    maps = evidence(heatmaps, (32, 32), settings, image=image)
    assert (maps[0].min(), maps[0].max()) == (0, 0.75)
    assert (maps[1] == 0.25).all()
    assert set(np.unique(label_map(heatmaps, [3, 7], (32, 32), settings, image=image))) == {0, 3}
