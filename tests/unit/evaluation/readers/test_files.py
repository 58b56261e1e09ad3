import numpy as np
import pytest
from PIL import Image
from tests.helpers.folders import save_png

from dataset_diffusion.dataset.schema import decode_grey, encode_grey
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.readers.files import check_exist, check_folders, check_ids, read_file, read_names
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
        read_names(tmp_path / "val.txt")
    assert str(error.value) == f"the split has no file; got {tmp_path / 'val.txt'}; expected --split of train"
    with pytest.raises(DatasetError, match=r"train\.txt lists no image"):
        read_names(tmp_path / "train.txt")


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
