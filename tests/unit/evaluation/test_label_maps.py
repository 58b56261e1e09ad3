import io
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.dataset.schema import encode_label
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.label_maps import decode_ids, decode_mask
from dataset_diffusion.prompts.class_sets import class_set

VOC = class_set("voc")
IDS = np.array([[0, 12, 15, 255]], np.uint8)


def png(array, palette=None):
    picture = Image.fromarray(np.asarray(array))
    if palette is not None:
        picture.putpalette(bytes(chain.from_iterable(palette)))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def colors(*ids):
    return [VOC.palette[label_id] for label_id in ids]


@pytest.mark.parametrize(
    "data",
    [
        encode_label(IDS, VOC),
        png(IDS),
        png(IDS.astype(np.uint16)),
        png(np.array([[2, 0, 1, 3]], np.uint8), colors(12, 15, 0, 255)),
        png(IDS, [(level, 255, 0) for level in range(256)]),
    ],
    ids=["as we write", "grey", "16 bits", "another order", "another palette"],
)
def test_ids_are_told_by_colours_or_else_by_indices(data):
    assert decode_ids(data, VOC).tolist() == IDS.tolist()


def test_the_void_of_a_palette_may_have_any_colour():
    palette = [*VOC.palette[:255], (255, 255, 255)]
    assert decode_ids(png(IDS, palette), VOC).tolist() == IDS.tolist()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(np.array([[0, 1]], np.uint8), [VOC.palette[15], (1, 2, 3)]), "index 0 has the colour of id 15, index 1"),
        (png(np.full((1, 1), 256, np.uint16)), "ids beyond 8 bits; got 256"),
        (png(np.zeros((1, 1, 3), np.uint8)), "a label map is not a palette image; got mode RGB"),
        (b"", "the bytes are not an image"),
    ],
)
def test_label_maps_that_cannot_be_right_are_refused(data, message):
    with pytest.raises(DatasetError, match=message):
        decode_ids(data, VOC)


@pytest.mark.parametrize(
    "levels",
    [[[0, 255]], [[0, 1]], [[128, 129]], np.array([[0, 65535]], np.uint16), np.array([[0, 1]], np.uint16)],
    ids=["0 and 255", "0 and 1", "around half", "16 bits", "16 bits of 0 and 1"],
)
def test_masks_of_any_range(levels):
    assert decode_mask(png(np.asarray(levels, getattr(levels, "dtype", np.uint8)))).tolist() == [[0, 1]]


def test_an_empty_mask_is_empty():
    assert not decode_mask(png(np.zeros((2, 2), np.uint8))).any()


@pytest.mark.parametrize(
    ("levels", "message"),
    [([[0, 2]], "nothing in the mask is brighter than half; got 2 at most"), ([[[9, 0, 0]]], "a mask is not grey")],
)
def test_masks_that_cannot_be_right_are_refused(levels, message):
    with pytest.raises(DatasetError, match=message):
        decode_mask(png(np.array(levels, np.uint8)))
