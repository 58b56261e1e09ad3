import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from tests.helpers.folders import coco_folder

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.readers.coco import draw_instances
from dataset_diffusion.evaluation.table import open_benchmark

IMAGE = {"id": 1, "file_name": "1.jpg", "height": 4, "width": 6}


def rectangle(number, category, left, top, width, height, crowd=0):
    right, bottom = left + width, top + height
    polygon = [left, top, right, top, right, bottom, left, bottom]
    return {"id": number, "image_id": 1, "category_id": category, "iscrowd": crowd, "segmentation": [polygon]}


def drawn(*annotations):
    coco = COCO()
    coco.dataset = {"images": [IMAGE], "annotations": list(annotations), "categories": []}
    coco.createIndex()
    return draw_instances(coco, IMAGE, {1: 1, 90: 80}).tolist()


def test_the_smaller_object_is_on_top_whatever_the_order():
    large, small = rectangle(1, 1, 0, 0, 6, 4), rectangle(2, 90, 1, 1, 2, 2)
    expected = [[1] * 6, [1, 80, 80, 1, 1, 1], [1, 80, 80, 1, 1, 1], [1] * 6]
    assert drawn(large, small) == drawn(small, large) == expected


def test_of_two_of_one_size_the_higher_annotation_is_on_top():
    first, second = rectangle(1, 1, 0, 0, 4, 4), rectangle(2, 90, 2, 0, 4, 4)
    assert drawn(second, first) == [[1, 1, 80, 80, 80, 80]] * 4


def test_crowds_are_ignored_but_under_objects():
    crowd, thing = rectangle(1, 1, 2, 0, 4, 4, crowd=1), rectangle(2, 90, 0, 0, 6, 1)
    assert drawn(crowd, thing) == [[80] * 6, *[[0, 0, 255, 255, 255, 255]] * 3]


def test_an_image_without_an_instance_is_background():
    assert drawn() == [[0] * 6] * 4


@pytest.fixture
def coco(tmp_path):
    return coco_folder(tmp_path / "coco")


def instances_of(folder):
    return folder.root / "annotations" / "instances_val2017.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("images"), "is not a COCO instances file; got "),
        (lambda values: values.pop("categories"), "is not a COCO instances file; got "),
        (lambda values: values.update(annotations=[1]), "is not a COCO instances file; got TypeError"),
        (lambda values: values["images"][0].pop("height"), "is not a COCO instances file; got KeyError: 'height'"),
        (
            lambda values: values["categories"][0].update(name="unicorn"),
            "has other categories; got class set 'coco' has no such class; got unicorn",
        ),
    ],
)
def test_instances_of_another_schema(coco, change, message):
    values = json.loads(instances_of(coco).read_text())
    change(values)
    instances_of(coco).write_text(json.dumps(values))
    with pytest.raises(DatasetError, match=f"instances_val2017.json {message}") as error:
        open_benchmark("coco2017", coco.root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON; got Expecting"), ("[1]", "is not a COCO instances")])
def test_instances_that_are_no_json_object(coco, text, message):
    instances_of(coco).write_text(text)
    with pytest.raises(DatasetError, match=f"instances_val2017.json {message}"):
        open_benchmark("coco2017", coco.root)


def test_an_instance_that_cannot_be_drawn_names_its_image(coco):
    values = json.loads(instances_of(coco).read_text())
    del values["annotations"][0]["segmentation"]
    instances_of(coco).write_text(json.dumps(values))
    benchmark = open_benchmark("coco2017", coco.root)
    with pytest.raises(DatasetError, match=r"instances_val2017.json: image 000000000139.jpg; got KeyError") as error:
        benchmark[0]
    assert "\n" not in str(error.value)
    assert np.array_equal(benchmark[1].label, coco.labels["000000000285"])


def test_nothing_is_printed(coco, capfd):
    open_benchmark("coco2017", coco.root)
    assert capfd.readouterr() == ("", "")
