import json

import pytest

from dataset_diffusion.disk.instances import read_instances
from dataset_diffusion.errors import DatasetError

WHOLE = {
    "images": [{"id": 1}, {"id": "b"}],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 3}, {"id": 6, "image_id": "b", "category_id": 3}],
    "categories": [{"id": 3, "name": "cat"}],
}


def write(folder, values):
    file = folder / "instances.json"
    file.write_text(values if isinstance(values, str) else json.dumps(values))
    return file


def test_what_is_annotated_is_read(tmp_path):
    found = read_instances(write(tmp_path, "\ufeff" + json.dumps(WHOLE)))
    assert (found.images, found.annotations) == (WHOLE["images"], WHOLE["annotations"])
    assert found.categories == {3: "cat"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{", "is not JSON; got Expecting"),
        ("[" * 100_000, "is not JSON"),
        ([1], "is not a COCO instances file; got TypeError"),
        (WHOLE | {"images": []}, "is not a COCO instances file; got KeyError: 'no images"),
        (WHOLE | {"categories": ["cat"]}, "is not a COCO instances file; got TypeError"),
        (WHOLE | {"images": [{"id": [1]}]}, "is not a COCO instances file; got TypeError: unhashable"),
        (
            WHOLE | {"annotations": [{"id": 1, "image_id": 1}]},
            "is not a COCO instances file; got KeyError: 'category_id'",
        ),
        (WHOLE | {"images": WHOLE["images"] + [{"id": 1}]}, "ids of images are not unique: 1 (2 times); fix: number"),
        (
            WHOLE | {"images": [{"id": "1"}, {"id": "b"}]},
            "images that are not listed: 1 (1); expected ids as in images, s",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path, values, message):
    file = write(tmp_path, values)
    with pytest.raises(DatasetError) as error:
        read_instances(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"^cannot read .*none\.json; got No such file"):
        read_instances(tmp_path / "none.json")
