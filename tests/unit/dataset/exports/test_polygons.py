import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools import mask as coco_mask
from tests.helpers.label_maps import HARD, label_maps

from dataset_diffusion.dataset.exports.polygons import center_polygons, corner_polygons


def mask_of(*lines):
    return np.array([[mark == "1" for mark in line] for line in lines], np.uint8)


def area(ring):
    """Area by the shoelace formula: what a bridge walked both ways adds is nothing."""
    x, y = ring.T.astype(float)
    return abs(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1))) / 2


def fill_as_opencv(rings, shape):
    masks = np.zeros((len(rings), *shape), np.uint8)
    for mask, ring in zip(masks, rings, strict=True):
        cv2.fillPoly(mask, [ring.astype(np.int32)], 1)
    return masks


def fill_as_coco(rings, shape):
    return [coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([ring.ravel().tolist()], *shape))) for ring in rings]


def test_a_rectangle_has_the_four_vertices_one_expects():
    mask = mask_of("....", ".11.", ".11.", ".11.")
    [centers], [corners] = center_polygons(mask), corner_polygons(mask)
    assert sorted(centers.tolist()) == [[1, 1], [1, 3], [2, 1], [2, 3]]
    assert sorted(corners.tolist()) == [[1, 1], [1, 4], [3, 1], [3, 4]]


def test_a_hole_is_part_of_the_one_polygon_and_not_of_its_area():
    [ring] = corner_polygons(mask_of("11111", "11111", "11.11", "11111", "11111"))
    assert area(ring) == 24
    assert {(2, 2), (2, 3), (3, 2), (3, 3), (0, 0), (5, 5)} <= {(x, y) for x, y in ring.tolist()}


def test_one_pixel_is_one_point_or_a_unit_square():
    mask = mask_of("...", "..1")
    assert [ring.tolist() for ring in center_polygons(mask)] == [[[2, 1]]]
    assert [sorted(ring.tolist()) for ring in corner_polygons(mask)] == [[[2, 1], [2, 2], [3, 1], [3, 2]]]


def test_components_are_8_connected():
    assert len(center_polygons(mask_of("1..", ".1.", "..1"))) == 1
    assert len(center_polygons(mask_of("1.1", "...", "1.1"))) == 4
    assert center_polygons(mask_of("...")) == corner_polygons(mask_of("...")) == []


def check(label):
    for class_id in range(1, 4):
        mask = (label == class_id).astype(np.uint8)
        count, components = cv2.connectedComponents(mask, connectivity=8)
        expected = sorted((components == number).astype(np.uint8).tobytes() for number in range(1, count))
        for trace, fill in ((center_polygons, fill_as_opencv), (corner_polygons, fill_as_coco)):
            rings = trace(mask)
            assert sorted(filled.tobytes() for filled in fill(rings, mask.shape)) == expected
        assert sum(area(ring) for ring in corner_polygons(mask)) == mask.sum()


@pytest.mark.parametrize("name", HARD)
def test_every_component_fills_to_exactly_its_pixels(name):
    check(HARD[name])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(label_maps(max_side=17))
def test_so_does_every_component_of_any_label_map(label):
    check(label)
