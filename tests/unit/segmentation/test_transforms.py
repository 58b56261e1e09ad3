import pytest
import torch
from hypothesis import given, strategies as st
from torchvision import tv_tensors
from torchvision.transforms import v2

from dataset_diffusion.segmentation.transforms import (
    CategoryCrop,
    PadTo,
    PhotometricDistortion,
    augment,
    training_transform,
)

seeds = st.integers(0, 2**63 - 1)

BRIGHT_HALF = torch.zeros(3, 24, 40, dtype=torch.uint8)
BRIGHT_HALF[:, :, 20:] = 200
HALF_LABEL = torch.zeros(24, 40, dtype=torch.uint8)
HALF_LABEL[:, 20:] = 7

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("augmentation", ["light", "published", "strong"])
@given(seed=seeds)
def test_the_result_has_the_crop_size_and_no_new_ids(augmentation, seed):
    image, label = augment(BRIGHT_HALF, HALF_LABEL, training_transform(augmentation, (16, 32)), seed)
    assert image.shape == (3, 16, 32)
    assert image.dtype == label.dtype == torch.uint8
    assert set(label.unique().tolist()) <= {0, 7, 255}


@given(seeds)
def test_the_same_seed_gives_the_same_pair_and_leaves_torch_as_it_was(seed):
    transform = training_transform("published", (16, 16))
    state = torch.get_rng_state()
    first = augment(BRIGHT_HALF, HALF_LABEL, transform, seed)
    torch.rand(3)
    before = torch.get_rng_state()
    second = augment(BRIGHT_HALF, HALF_LABEL, transform, seed)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(state)


def test_other_seeds_give_other_pairs():
    transform = training_transform("published", (16, 16))
    results = {augment(BRIGHT_HALF, HALF_LABEL, transform, seed)[0].numpy().tobytes() for seed in range(20)}
    assert len(results) == 20


@given(seeds)
def test_the_label_map_goes_where_the_image_goes(seed):
    image, label = augment(BRIGHT_HALF, HALF_LABEL, training_transform("published", (24, 24)), seed)
    bright, dark = image[:, label == 7].float(), image[:, label == 0].float()
    if bright.numel() and dark.numel():
        assert bright.mean() > dark.mean() + 50


@given(seeds)
def test_a_crop_is_padded_right_and_bottom_with_the_mean_colour(seed):
    image = torch.full((3, 5, 6), 90, dtype=torch.uint8)
    label = torch.full((5, 6), 3, dtype=torch.uint8)
    crop = v2.Compose([CategoryCrop((16, 16)), PadTo((16, 16), (0.485, 0.456, 0.406))])
    new_image, new_label = augment(image, label, crop, seed)
    assert (new_label[:5, :6] == 3).all()
    assert (new_image[:, :5, :6] == 90).all()
    assert (new_label == 255).sum() == 16 * 16 - 30
    assert new_image[:, new_label == 255].unique(dim=1).flatten().tolist() == [124, 116, 104]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"brightness": 32.0}, [232, 42, 132]),
        ({"brightness": -32.0}, [168, 0, 68]),
        ({"contrast": 0.5}, [100, 5, 50]),
        ({"contrast": 1.5}, [255, 15, 150]),
        ({"brightness": 30.0, "contrast": 0.5, "contrast_first": True}, [115, 20, 65]),
        ({"brightness": 30.0, "contrast": 0.5}, [115, 20, 65]),
        ({}, [200, 10, 100]),
    ],
)
def test_light_is_distorted_in_levels_from_black(asked, expected):
    # Without a change of colours the two places of contrast are one: after brightness.
    nothing = {"brightness": None, "contrast": None, "contrast_first": False, "saturation": None, "hue": None}
    image = tv_tensors.Image(torch.tensor([200, 10, 100], dtype=torch.uint8)[:, None, None])
    found = PhotometricDistortion().transform(image, nothing | asked)
    assert found.flatten().tolist() == expected


@pytest.mark.parametrize(
    ("saturation", "hue", "expected"),
    # HSV of (200, 100, 100) is 0 degrees, half, 200; a turn by 60 of the 180 steps makes red green.
    [
        (None, 60, [100, 200, 100]),
        (0.5, None, [200, 150, 150]),
        (1.5, None, [200, 50, 50]),
        (None, None, [200, 100, 100]),
    ],
)
def test_colours_are_turned_and_saturated_in_hsv(saturation, hue, expected):
    params = {"brightness": None, "contrast": None, "contrast_first": False, "saturation": saturation, "hue": hue}
    image = tv_tensors.Image(torch.tensor([200, 100, 100], dtype=torch.uint8)[:, None, None])
    found = PhotometricDistortion().transform(image, params).flatten().int()
    assert (found - torch.tensor(expected)).abs().max() <= 1


def test_each_distortion_is_drawn_half_of_the_time_and_in_its_range():
    torch.manual_seed(0)
    drawn = [PhotometricDistortion().make_params([]) for _ in range(600)]
    ranges = {"brightness": (-32, 32), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-18, 18)}
    for name, (low, high) in ranges.items():
        values = [one[name] for one in drawn if one[name] is not None]
        assert 240 < len(values) < 360
        assert low <= min(values) < low + (high - low) / 10
        assert high - (high - low) / 10 < max(values) <= high


def test_no_class_fills_a_crop_where_that_can_be_had():
    # A class in the right quarter: of the 17 crops only the 5 rightmost hold at least a quarter of it.
    label = torch.zeros(32, 32, dtype=torch.uint8)
    label[:, 24:] = 1
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)

    def balanced(transform):
        return sum((augment(image, label, transform, seed)[1] == 0).float().mean() <= 0.75 for seed in range(100))

    assert balanced(v2.RandomCrop((32, 16))) < 50
    assert balanced(CategoryCrop((32, 16))) > 90


def test_ignored_pixels_have_no_share():
    # Most of every crop is ignored. What is labelled in it is one class at the left and two at the right, half each.
    label = torch.full((5, 40), 255, dtype=torch.uint8)
    label[0, :20], label[0, 20::2], label[0, 21::2] = 0, 0, 1
    image = torch.zeros(3, 5, 40, dtype=torch.uint8)

    def balanced(transform):
        return sum(bool((augment(image, label, transform, seed)[1] == 1).any()) for seed in range(100))

    assert balanced(v2.RandomCrop((5, 4))) < 70
    assert balanced(CategoryCrop((5, 4))) > 95


def test_a_crop_without_a_labelled_pixel_is_drawn_again():
    # Two classes in the right eighth: of the 29 crops only the 4 rightmost hold any of it.
    label = torch.full((32, 32), 255, dtype=torch.uint8)
    label[:16, 28:], label[16:, 28:] = 0, 1
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)

    def labelled(transform):
        return sum(bool((augment(image, label, transform, seed)[1] != 255).any()) for seed in range(100))

    assert labelled(v2.RandomCrop((32, 4))) < 30
    assert labelled(CategoryCrop((32, 4))) > 60


def test_an_image_without_a_labelled_pixel_is_cropped_too():
    nothing = torch.full((8, 8), 255, dtype=torch.uint8)
    _, label = augment(torch.zeros(3, 8, 8, dtype=torch.uint8), nothing, CategoryCrop((4, 4)), seed=0)
    assert label.shape == (4, 4)


@pytest.mark.parametrize("seed", range(4))
def test_light_augmentation_only_moves_pixels(seed):
    image, label = augment(BRIGHT_HALF, HALF_LABEL, training_transform("light", HALF_LABEL.shape), seed)
    mirrored = torch.equal(image, BRIGHT_HALF.flip(-1)) and torch.equal(label, HALF_LABEL.flip(-1))
    assert mirrored or (torch.equal(image, BRIGHT_HALF) and torch.equal(label, HALF_LABEL))


@pytest.mark.parametrize("augmentation", ["light", "published", "strong"])
@given(seed=seeds)
def test_planes_of_a_label_map_stay_together(augmentation, seed):
    planes = torch.stack([HALF_LABEL, HALF_LABEL + 100])
    image, both = augment(BRIGHT_HALF, planes, training_transform(augmentation, (16, 32)), seed)
    alone, label = augment(BRIGHT_HALF, HALF_LABEL, training_transform(augmentation, (16, 32)), seed)
    assert torch.equal(image, alone)
    assert torch.equal(both[0], label)
    assert torch.equal(both[1], torch.where(label == 255, label, label + 100))
