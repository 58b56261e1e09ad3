import json

import pytest
from benchmarks import readers
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers") / "exports"
    readers.make(folder, 25)
    return folder


def row(folder, called):
    """The last cells of a reader's row."""
    (reader,) = (one for one in readers.READERS if one.called == called)
    return readers.check(reader, folder / reader.folders[0])


@pytest.mark.parametrize("called", ["from_yolo", "CocoDetection"])
def test_every_sample_comes_back(exports, called):
    assert row(exports, called) == "equal | 25/25"


def test_a_pixel_and_a_name_that_differ_are_noticed(exports):
    names, label = exports / "png" / "classes.json", exports / "png" / "labels" / "00000024.png"
    kept = names.read_bytes(), label.read_bytes()
    with Image.open(label) as picture:
        picture.putpixel((3, 3), 1 + picture.getpixel((3, 3)) % 2)
        picture.save(label)
    rows = json.loads(kept[0])
    names.write_text(json.dumps([one | {"name": one["name"].upper()} for one in rows]))
    told = readers.check(readers.Reader("imageio", "imread", readers.imageio_png, ("png",)), exports / "png")
    names.write_bytes(kept[0])
    label.write_bytes(kept[1])
    assert told.startswith("other: {0: 'BACKGROUND', 1: 'FORKLIFT'")
    assert told.endswith("| 24/25")


def test_what_is_not_installed_is_named(exports):
    absent = readers.Reader("no-such-reader", "read", readers.imageio_png, ("png",))
    assert readers._result(absent, exports / "png") == "not installed | | "
