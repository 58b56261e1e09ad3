import numpy as np
import pytest
from PIL import Image
from tests.helpers.folders import save_png

from dataset_diffusion.dataset.schema import decode_grey, encode_grey
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.readers.files import (
    Files,
    check_exist,
    check_folders,
    check_ids,
    check_ids_of_images,
    read_file,
    read_names,
)
from dataset_diffusion.prompts.class_sets import ClassSet


def test_grey_pictures_come_back():
    picture = np.array([[0, 128, 255]], np.uint8)
    assert np.array_equal(decode_grey(encode_grey(picture)), picture)


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA"])
def test_masks_of_any_mode_are_grey(mode, tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert(mode).save(tmp_path / "mask.png")
    assert decode_grey((tmp_path / "mask.png").read_bytes()).tolist() == [[0, 255]]


def test_a_mask_in_colour_is_refused(tmp_path):
    save_png(tmp_path / "mask.png", np.array([[[255, 0, 0]]], np.uint8))
    with pytest.raises(DatasetError) as error:
        read_file(tmp_path / "mask.png", decode_grey)
    assert str(error.value) == (
        f"cannot use {tmp_path / 'mask.png'}; got a mask is not grey; got a picture in colour; expected black and white"
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DatasetError) as error:
        read_file(tmp_path / "no.png", bytes.decode)
    assert str(error.value) == f"cannot read {tmp_path / 'no.png'}; got No such file or directory"


def test_a_split_file_that_is_missing_or_empty(tmp_path):
    (tmp_path / "train.txt").write_text(" \n")
    with pytest.raises(DatasetError) as error:
        read_names(tmp_path / "val.txt", Files(tmp_path))
    assert str(error.value) == f"the split has no file; got {tmp_path / 'val.txt'}; expected --split of train"
    with pytest.raises(DatasetError, match=r"train\.txt lists no image"):
        read_names(tmp_path / "train.txt", Files(tmp_path))


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    (tmp_path / "b").touch()
    with pytest.raises(DatasetError, match=rf"a file is missing; got {tmp_path}/a \(2 of 3 missing\); fix: "):
        check_exist([tmp_path / "a", tmp_path / "b", tmp_path / "c"])


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "photos").mkdir()
    check_folders(tmp_path, ("photos",), "set")
    with pytest.raises(DatasetError) as error:
        check_folders(tmp_path, ("photos", "labels"), "set")
    assert str(error.value) == (
        f"not the benchmark's folder; got {tmp_path} without labels; expected a folder with photos and labels; "
        "fix: --root set"
    )


def test_ids_of_the_class_set_or_255():
    classes = ClassSet.from_names(["cat", "dog"])
    label = np.array([[0, 2, 255]], np.uint8)
    assert check_ids(label, "a.png", classes) is label
    with pytest.raises(DatasetError) as error:
        check_ids(label + np.uint8(1), "a.png", classes)
    assert str(error.value) == (
        "a.png has ids outside the class set; got 3 in 1 pixels; expected 0..2, or 255 to ignore"
    )


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_files_are_found_whatever_their_suffix(tmp_path):
    touch(tmp_path, "a.jpg", "b.JPEG", "c d.Png", ".hidden.png", "notes.txt")
    touch(tmp_path / "city", "e.tif")
    files = Files(tmp_path)
    assert files.names == ["a", "b", "c d"]
    assert [files.path(name).name for name in (*files.names, "city/e")] == ["a.jpg", "b.JPEG", "c d.Png", "e.tif"]
    assert files.path("f.g") == tmp_path / "f.g.jpg"
    assert "f.g" not in files


def test_two_files_of_one_name_are_refused_where_it_is_asked_for(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.jpg")
    files = Files(tmp_path)
    assert files.path("b") == tmp_path / "b.jpg"
    with pytest.raises(DatasetError, match=f"the same name but for its end; got a.jpg and a.png in {tmp_path}; fix: "):
        files.path("a")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb\n", ("a", "b")),
        ("\ufeffa\r\nb\r\n", ("a", "b")),
        ("a -1\nb  1\n", ("a", "b")),
        ("a.jpg\n  c d \n", ("a", "c d")),
        ("c d 1\nnot here\n", ("c d 1", "not here")),
    ],
)
def test_a_list_names_an_image_a_line(tmp_path, text, names):
    touch(tmp_path, "a.jpg", "b.png", "c d.jpg")
    (tmp_path / "val.txt").write_text(text)
    assert read_names(tmp_path / "val.txt", Files(tmp_path)) == names


def test_an_image_listed_twice_is_told_with_its_lines(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "val.txt").write_text("a\nb\n\na 1\n")
    with pytest.raises(DatasetError, match=r"an image is listed twice; got a in .*val\.txt, lines 1 and 4; fix: "):
        read_names(tmp_path / "val.txt", Files(tmp_path))


def test_two_images_with_one_id_are_refused(tmp_path):
    sources = [Source("a", bytes, files=(tmp_path / folder / "a.jpg",)) for folder in ("x", "y")]
    check_ids_of_images(sources[:1])
    with pytest.raises(DatasetError, match=f"same name; got {tmp_path}/x/a.jpg and {tmp_path}/y/a.jpg; fix: "):
        check_ids_of_images(sources)
