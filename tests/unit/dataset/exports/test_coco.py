import json

import numpy as np
from pycocotools import mask as coco_mask
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import make_store

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.coco import annotate

LABEL = np.array([[1, 1, 0, 1], [0, 0, 0, 255]], np.uint8)


def annotations(**choices):
    found = list(annotate(LABEL, 7, ExportSettings(format="coco", **choices)))
    return [(one["category_id"], one["iscrowd"], one["area"], one["bbox"]) for one in found]


def test_one_annotation_a_class_and_a_crowd_of_uncertain_pixels():
    assert annotations() == [(1, 0, 3, [0, 0, 4, 1]), (255, 1, 1, [3, 1, 1, 1])]


def test_one_annotation_a_component():
    expected = [(1, 0, 2, [0, 0, 2, 1]), (1, 0, 1, [3, 0, 1, 1]), (255, 1, 1, [3, 1, 1, 1])]
    assert annotations(instances=True) == annotations(instances=True, polygons=True) == expected


def test_polygons_go_around_pixels_and_crowds_stay_run_lengths():
    thing, crowd = annotate(LABEL, 7, ExportSettings(format="coco", polygons=True))
    rings = sorted(sorted(zip(ring[::2], ring[1::2], strict=True)) for ring in thing["segmentation"])
    assert rings == [[(0, 0), (0, 1), (2, 0), (2, 1)], [(3, 0), (3, 1), (4, 0), (4, 1)]]
    assert crowd["segmentation"]["size"] == [2, 4]


def test_without_a_crowd_uncertain_pixels_have_no_annotation_and_no_category(tmp_path):
    assert annotations(crowd=False) == annotations()[:1]
    write_export(
        make_store(tmp_path / "dataset", [LABEL]).path, tmp_path / "out", ExportSettings(format="coco", crowd=False)
    )
    whole = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert [one["id"] for one in whole["categories"]] == [1, 2, 3]


def test_counts_as_a_list_are_those_of_the_string():
    as_list, crowd = annotate(LABEL, 7, ExportSettings(format="coco", counts="list"))
    assert (as_list["segmentation"], crowd["segmentation"]["counts"]) == (
        {"size": [2, 4], "counts": [0, 1, 1, 1, 3, 1, 1]},
        [7, 1],
    )
    as_string, _ = annotate(LABEL, 7, ExportSettings(format="coco"))
    encoded = coco_mask.frPyObjects(as_list["segmentation"], 2, 4)["counts"].decode()
    assert encoded == as_string["segmentation"]["counts"]


def test_nothing_to_annotate():
    assert list(annotate(np.zeros((2, 3), np.uint8), 0, ExportSettings(format="coco"))) == []


def test_the_file_numbers_annotations_from_one_and_names_every_category(tmp_path):
    store = make_store(tmp_path / "dataset", [LABEL, LABEL * 0, LABEL], shard_size=1)
    write_export(store.path, tmp_path / "out", ExportSettings(format="coco", licence="CC0"))
    whole = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert [one["id"] for one in whole["annotations"]] == [1, 2, 3, 4]
    assert [one["image_id"] for one in whole["annotations"]] == [0, 0, 2, 2]
    assert [image["file_name"] for image in whole["images"]] == ["00000000.png", "00000001.png", "00000002.png"]
    assert [(one["id"], one["name"]) for one in whole["categories"]] == [
        (1, "forklift"),
        (2, "hand truck"),
        (3, "Öl | fass: 3"),
        (255, "uncertain"),
    ]
    assert whole["licenses"] == [{"id": 1, "name": "CC0", "url": ""}]
    assert not (tmp_path / "out" / "annotations" / "instances_val.json").exists()
