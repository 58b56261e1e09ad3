import cv2
import numpy as np
import pytest
import yaml
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import HARD, make_store

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.yolo import label_lines


def test_a_line_is_a_class_from_zero_and_vertices_as_fractions():
    label = np.zeros((4, 8), np.uint8)
    label[1:3, 2:6] = 3
    [line] = label_lines(label, [1, 2, 3]).splitlines()
    class_id, *values = line.split()
    assert class_id == "2"
    # A quarter of a pixel past each corner pixel: columns 2 and 5 of 8, rows 1 and 2 of 4.
    assert set(values[::2]) == {"0.281250", "0.656250"}
    assert set(values[1::2]) == {"0.312500", "0.562500"}


@pytest.mark.parametrize("label", [[[0, 1]], [[1, 1]], [[0, 0], [1, 1]], [[1, 0], [1, 0], [1, 0]]])
def test_one_pixel_or_one_line_is_a_triangle_and_no_box_has_width_zero(label):
    [line] = label_lines(np.array(label, np.uint8), [1]).splitlines()
    vertices = np.array(line.split()[1:], float).reshape(-1, 2)
    assert len(vertices) == 3
    assert (np.ptp(vertices, axis=0) > 0).all()


@pytest.mark.parametrize("label", [np.zeros((3, 3), np.uint8), np.full((3, 3), 255, np.uint8)])
def test_background_and_uncertain_pixels_have_no_line(label):
    assert label_lines(label, [1, 2, 3]) == ""


@pytest.mark.parametrize("name", HARD)
def test_readers_that_cut_off_fractions_fill_the_same_pixels(name):
    """Some readers round vertices to pixels, some cut them off."""
    label, size = HARD[name], HARD[name].shape[::-1]
    for convert in (np.floor, np.round):
        painted = np.zeros_like(label)
        for line in label_lines(label, [1, 2, 3]).splitlines():
            class_id, *values = line.split()
            vertices = np.array(values, np.float32).reshape(-1, 2) * size
            cv2.fillPoly(painted, [convert(vertices).astype(np.int32)], int(class_id) + 1)
        np.testing.assert_array_equal(painted, np.where(label == 255, 0, label))


@pytest.mark.parametrize(("fraction", "val"), [(0.0, "images/train"), (0.5, "images/val")])
def test_the_description_names_classes_and_folders_beside_it(tmp_path, fraction, val):
    store = make_store(tmp_path / "dataset", [HARD["comb"]] * 2)
    write_export(store.path, tmp_path / "out", ExportSettings(format="yolo", val_fraction=fraction))
    description = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))
    names = {0: "forklift", 1: "hand truck", 2: "Öl | fass: 3"}
    assert description == {"train": "images/train", "val": val, "names": names}
