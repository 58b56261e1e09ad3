import numpy as np
import pytest
import torch
from torch import nn

from dataset_diffusion.config import EvaluateSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.predict import (
    PUBLISHED_SCALES,
    Views,
    class_probabilities,
    foreground,
    predict,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def brightness():
    """Class 1 where the red channel is above one half, else background."""
    network = nn.Conv2d(3, 2, 1)
    network.weight.data = torch.tensor([[0.0, 0, 0], [100, 0, 0]])[:, :, None, None]
    # The network sees red as (red - 0.485) / 0.229.
    network.bias.data = torch.tensor([0.0, -100 * (0.5 - 0.485) / 0.229])
    return Segmenter(network, "brightness", 2).eval()


@pytest.fixture
def lopsided():
    """A network that tells left from right."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Segmenter(nn.Conv2d(3, 3, 3, padding=1), "lopsided", 3).eval()


def photos(*sizes):
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_label_maps_by_hand(brightness):
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 1] = image[1, 2] = (255, 0, 0)
    (label,) = predict(brightness, [image])
    assert label.dtype == np.uint8
    assert label.tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_every_image_keeps_its_place_and_size(brightness, batch_size):
    images = photos((4, 6), (4, 6), (4, 6), (6, 4), (5, 5), (4, 6))
    labels = list(predict(brightness, images, batch_size=batch_size))
    assert len(labels) == 6
    for image, label in zip(images, labels, strict=True):
        assert np.array_equal(label, image[..., 0] > 127)


def test_images_are_taken_as_they_are_needed(brightness):
    taken = []

    def stream():
        for number, image in enumerate(photos(*[(4, 4)] * 6)):
            taken.append(number)
            yield image

    next(predict(brightness, stream(), batch_size=2))
    assert len(taken) <= 3


def test_nothing_to_predict(brightness):
    assert list(predict(brightness, [])) == []


def test_a_flipped_view_is_flipped_back(lopsided):
    images = torch.rand((2, 3, 5, 7), generator=torch.Generator().manual_seed(1))
    plain = class_probabilities(lopsided, images)
    mirrored = class_probabilities(lopsided, images.flip(-1)).flip(-1)
    assert not torch.allclose(plain, mirrored)
    torch.testing.assert_close(class_probabilities(lopsided, images, Views(flip=True)), (plain + mirrored) / 2)


def test_scales_are_averaged(lopsided):
    images = torch.rand((1, 3, 8, 12), generator=torch.Generator().manual_seed(1))
    half, whole = (class_probabilities(lopsided, images, Views(scales=(scale,))) for scale in (0.5, 1.0))
    assert not torch.allclose(half, whole)
    both = class_probabilities(lopsided, images, Views(scales=(0.5, 1.0)))
    torch.testing.assert_close(both, (half + whole) / 2)


def test_the_short_side_is_what_scale_one_stands_for(lopsided):
    images = torch.rand((1, 3, 8, 12), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        class_probabilities(lopsided, images, Views(short_side=16)),
        class_probabilities(lopsided, images, Views(scales=(2.0,))),
    )


@pytest.mark.parametrize(
    ("short_side", "heights"),
    # Published are the scales of the original size.
    [(None, [32, 48, 64, 80, 96, 112]), (512, [256, 384, 512, 640, 768, 896])],
)
def test_the_published_views_are_twelve(lopsided, short_side, heights):
    seen, views = [], Views.from_settings(EvaluateSettings(tta=True, short_side=short_side))
    lopsided.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape[-2:])))
    probabilities = class_probabilities(lopsided, torch.rand(1, 3, 64, 96), views)
    assert probabilities.shape == (1, 3, 64, 96)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 64, 96))
    assert seen == [(height, height * 3 // 2) for height in heights for _ in range(2)]


@pytest.mark.parametrize(
    "views",
    [{"scales": ()}, {"scales": (1.0, 0.0)}, {"short_side": 0}, {"short_side": -512}, {"window": 0}, {"window": -1}],
)
def test_views_that_show_nothing(views):
    with pytest.raises(ConfigError, match="no such view of an image; got Views") as error:
        Views(**views)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("views", [{"stride": 4}, {"window": 4, "stride": 5}])
def test_windows_that_leave_gaps(views):
    with pytest.raises(ConfigError, match=r"no such sliding window; .* expected a stride of at most the window"):
        Views(**views)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (4, 30), (7, 8)])
def test_windows_of_a_network_that_sees_one_pixel_are_the_whole(brightness, size):
    (image,) = photos(size)
    whole, windows = (list(predict(brightness, [image], views)) for views in (Views(), Views(window=8, stride=3)))
    assert np.array_equal(whole, windows)


def test_logits_are_averaged_where_windows_overlap(lopsided):
    images = torch.rand((1, 3, 4, 7), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        left, right = lopsided(images[..., :4]), lopsided(images[..., 3:])
    logits = torch.cat([left[..., :3], (left[..., 3:] + right[..., :1]) / 2, right[..., 1:]], dim=-1)
    windows = class_probabilities(lopsided, images, Views(window=4, stride=3))
    torch.testing.assert_close(windows, logits.softmax(dim=1))


def test_an_image_that_fits_the_window_is_seen_whole(lopsided):
    images = torch.rand((1, 3, 5, 7), generator=torch.Generator().manual_seed(1))
    assert torch.equal(
        class_probabilities(lopsided, images, Views(window=7)), class_probabilities(lopsided, images, Views())
    )


def test_windows_slide_over_the_scaled_image(lopsided):
    seen = []
    lopsided.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape[-2:])))
    class_probabilities(lopsided, torch.rand(1, 3, 8, 12), Views(scales=(0.5, 1.0), window=6, stride=6))
    assert seen == [(4, 6), *[(6, 6)] * 4]


def test_foreground_is_the_share_of_all_classes():
    probabilities = torch.tensor([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])[..., None, None]
    assert foreground(probabilities).flatten().tolist() == [191, 0, 255]


@pytest.mark.parametrize(
    ("settings", "views"),
    [
        ({}, Views()),
        ({"tta": True, "short_side": 512}, Views(PUBLISHED_SCALES, flip=True, short_side=512)),
        ({"scales": (0.5, 2.0)}, Views(scales=(0.5, 2.0))),
        ({"tta": True, "scales": (1.0,)}, Views(flip=True)),
        ({"sliding_window": 9, "stride": 6}, Views(window=9, stride=6)),
    ],
)
def test_views_of_settings(settings, views):
    assert Views.from_settings(EvaluateSettings(**settings)) == views
