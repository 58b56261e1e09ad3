import json

import numpy as np
import pytest
from tests.helpers.folders import coco_folder

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.readers.coco import draw_instances
from dataset_diffusion.evaluation.table import open_benchmark

SIZE = (4, 6)


def rectangle(number, category, left, top, width, height, crowd=0):
    right, bottom = left + width, top + height
    polygon = [left, top, right, top, right, bottom, left, bottom]
    return {"id": number, "image_id": 1, "category_id": category, "iscrowd": crowd, "segmentation": [polygon]}


def drawn(*annotations):
    return draw_instances(annotations, SIZE, {1: 1, 90: 80}).tolist()


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
    with pytest.raises(
        DatasetError,
        match=r"instances_val2017.json: image 000000000139.jpg; got annotation 1 has no mask; fix: export ",
    ) as error:
        benchmark[0]
    assert "\n" not in str(error.value)
    assert np.array_equal(benchmark[1].label, coco.labels["000000000285"])


def test_nothing_is_printed(coco, capfd):
    open_benchmark("coco2017", coco.root)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda values: values["annotations"][0].update(image_id=7),
            "annotations of images .* not listed: 7 (1)",
        ),
        (
            lambda values: values["annotations"][0].update(category_id="1"),
            'annotations of categories that are not listed: "1" (1); expected ids as in categories, such as 1',
        ),
        (lambda values: values["images"].append(values["images"][0]), "ids of images are not unique: 139 (2 times)"),
        (lambda values: values["images"][0].update(file_name="../a.jpg"), "a name leaves its folder; got '../a.jpg'"),
        (
            lambda values: values["images"][1].update(file_name="sub/000000000139.jpg"),
            "two images have the same name; got ",
        ),
        (lambda values: values["images"][0].update(width=10**9), "is of 1000000000 pixels, not 1 to 32768"),
    ],
)
def test_files_that_cannot_be_right_are_refused_at_once(coco, change, message):
    values = json.loads(instances_of(coco).read_text())
    change(values)
    instances_of(coco).write_text(json.dumps(values))
    with pytest.raises(DatasetError, match=message.replace("(", "\\(").replace(")", "\\)")):
        open_benchmark("coco2017", coco.root)


@pytest.mark.parametrize("crowd", [0, "0", False, None])
def test_what_says_that_an_object_is_no_crowd(crowd):
    thing = rectangle(1, 1, 0, 0, 6, 4, crowd)
    if crowd is None:
        del thing["iscrowd"]
    assert drawn(thing) == [[1] * 6] * 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iscrowd": "no"}, "iscrowd of annotation 1; got 'no'; expected 0 or 1"),
        ({"iscrowd": []}, "iscrowd of annotation 1"),
        ({"segmentation": []}, "annotation 1 has no mask; fix: "),
        ({"segmentation": None, "bbox": [0, 0, 1, 1]}, r"annotation 1 has no mask \(a box only\); fix: "),
        (
            {"segmentation": [[0, 0, 4, 4]]},
            "no mask of its image; got a polygon of 4 numbers; expected x and y",
        ),
        ({"segmentation": [[0, 0, 4, 4, 4]]}, "got a polygon of 5 numbers"),
        ({"segmentation": [["a"]]}, "expected numbers x, y, x, y, …"),
        ({"segmentation": [[0, 0, 1e9, 0, 4, 4]]}, "a polygon that reaches 1000000000.0; expected up to 32768"),
        ({"segmentation": [[0, 0, float("nan"), 0, 4, 4]]}, "a polygon that reaches nan"),
        ({"segmentation": {"size": [4, 7], "counts": "0"}}, r"run lengths of \[4, 7\]; expected of \[4, 6\]"),
        ({"segmentation": {"size": [4, 6], "counts": [5, 20]}}, "run lengths of 25 pixels; expected 24"),
        ({"segmentation": {"size": [4, 6], "counts": [30, -6]}}, "run lengths of 24 pixels"),
    ],
)
def test_an_instance_that_has_no_mask_says_why(values, message):
    with pytest.raises(DatasetError, match=message):
        drawn(rectangle(1, 1, 0, 0, 6, 4) | values)


def test_run_lengths_as_a_list_are_drawn():
    thing = rectangle(1, 1, 0, 0, 6, 4) | {"segmentation": {"size": [4, 6], "counts": [4, 20]}}
    assert drawn(thing) == [[0, 1, 1, 1, 1, 1]] * 4
