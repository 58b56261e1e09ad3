import json

import numpy as np
import pytest
from PIL import Image
from tests.helpers.label_maps import CLASSES

from dataset_diffusion.dataset.corrections import read_corrections
from dataset_diffusion.dataset.schema import decode_label
from dataset_diffusion.errors import DatasetError


def read(source):
    return dict(read_corrections(source, CLASSES, lambda data, classes: decode_label(data)))


def test_a_folder_of_pictures_is_read_by_the_ends_of_their_names(tmp_path):
    (tmp_path / "deep").mkdir()
    for name, class_id in (("00000003.png", 1), ("deep/task-12-00000004.png", 2), ("other.png", 3)):
        Image.fromarray(np.full((2, 3), class_id, np.uint8)).save(tmp_path / name)
    assert {index: label.tolist() for index, label in read(tmp_path).items()} == {3: [[1] * 3] * 2, 4: [[2] * 3] * 2}


def test_cvat_shapes_are_painted_from_the_lowest_up(tmp_path):
    (tmp_path / "a.xml").write_text("""<annotations><image id="0" name="images/00000007.png" width="4" height="3">
        <mask label="hand truck" rle="1, 2, 0, 1" left="1" top="1" width="2" height="2" z_order="1"/>
        <polygon label="forklift" points="0,0;3,0;3,2;0,2" z_order="0"/></image></annotations>""")
    assert {index: label.tolist() for index, label in read(tmp_path / "a.xml").items()} == {
        7: [[1, 1, 1, 1], [1, 1, 2, 1], [1, 2, 2, 1]]
    }


def task(name, annotations):
    return {"data": {"image": f"/data/local-files/?d=images/{name}"}, "annotations": annotations}


def test_label_studio_gives_the_last_annotation_that_was_not_cancelled(tmp_path):
    value = {"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "polygonlabels": ["uncertain"]}
    result = {"type": "polygonlabels", "original_width": 4, "original_height": 2, "value": value}
    tasks = [
        task("00000001.png", [{"result": [result]}, {"result": [], "was_cancelled": True}]),
        task("00000002.png", []),
    ]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    assert {index: label.tolist() for index, label in read(tmp_path / "a.json").items()} == {
        1: [[255, 255, 255, 0], [255, 255, 255, 0]]
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "no corrected label maps"),
        ("a.xml", "<annotations>", "cannot read"),
        ("a.json", "{}", "expected a list of tasks"),
        (
            "a.xml",
            '<a><image name="00000001.png" width="2" height="2"><polygon label="dog" points="0,0;1,1"/></image></a>',
            "00000001.png: no class 'dog'",
        ),
        ("a.json", json.dumps([task("00000001.png", [{"result": [{}]}])]), "00000001.png: no class"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError) as error:
        read(tmp_path / name)
    assert message in str(error.value)
