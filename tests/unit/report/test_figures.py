import base64
import io

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.report.figures import (
    colored_heatmap,
    colored_label,
    label_uri,
    overlay,
    photo_uri,
    thumbnail,
)

CLASSES = ClassSet.from_names(["forklift", "pallet"])
FORKLIFT = (128, 0, 0)


def decoded(uri, media_type):
    head, data = uri.split(",")
    assert head == f"data:{media_type};base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_overlay_tints_regions_outlines_them_and_leaves_the_background():
    image = np.full((5, 5, 3), 200, np.uint8)
    label = np.zeros((5, 5), np.uint8)
    label[1:4, 1:4] = 1
    drawn = overlay(image, label, CLASSES)
    assert (drawn[0] == 200).all()
    assert (drawn[:, 4] == 200).all()
    assert drawn[1, 1].tolist() == list(FORKLIFT)
    assert drawn[2, 2].tolist() == [164, 100, 100]


def test_overlay_shows_uncertain_pixels():
    image = np.zeros((3, 3, 3), np.uint8)
    assert overlay(image, np.full((3, 3), 255, np.uint8), CLASSES)[1, 1].tolist() == [112, 112, 96]


def test_overlay_of_another_size_is_refused():
    with pytest.raises(DatasetError, match=r"differ in size; got 4 x 5; expected 4 x 4$"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), CLASSES)


def test_label_colors_are_the_palette():
    label = np.array([[0, 1], [2, 255]], np.uint8)
    assert colored_label(label, CLASSES).tolist() == [[[0, 0, 0], [128, 0, 0]], [[0, 128, 0], [224, 224, 192]]]


def test_heatmap_is_dark_for_zero_and_bright_for_one_at_the_size_asked_for():
    ramp = np.tile(np.linspace(0, 1, 8, dtype=np.float16), (4, 1))
    drawn = colored_heatmap(ramp, (10, 32))
    assert drawn.shape == (10, 32, 3)
    brightness = drawn.astype(int).sum(axis=2)
    assert brightness[5, 0] < 30
    assert brightness[5, -1] > 600
    assert (np.diff(brightness[5]) >= 0).all()


@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_thumbnails_fit_and_keep_whole_ids(height, width):
    label = np.random.default_rng(height * 71 + width).choice(np.array([0, 2, 255], np.uint8), (height, width))
    small = thumbnail(label, 32)
    assert max(small.shape) == min(32, max(height, width))
    assert set(np.unique(small)) <= {0, 2, 255}
    image = thumbnail(np.zeros((height, width, 3), np.uint8), 32)
    assert image.shape == (*small.shape, 3)


def test_uris_hold_the_pictures():
    label = np.array([[0, 1, 255]], np.uint8)
    picture = decoded(label_uri(label, CLASSES), "image/png")
    assert np.array_equal(np.asarray(picture), label)
    assert np.asarray(picture.convert("RGB"))[0, 1].tolist() == list(FORKLIFT)
    photo = decoded(photo_uri(np.full((8, 12, 3), 90, np.uint8)), "image/jpeg")
    assert photo.size == (12, 8)
    assert np.abs(np.asarray(photo).astype(int) - 90).max() <= 2
