import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.folders import save_png, voc_folder

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.table import open_benchmark


@pytest.fixture
def voc(tmp_path):
    return voc_folder(tmp_path / "VOC2012")


@pytest.mark.parametrize(
    ("split", "ids"),
    [(None, ("2007_000032", "2008_000007")), ("val", ("2007_000032", "2008_000007")), ("train", ("2007_000032",))],
)
def test_a_split_lists_its_photos(voc, split, ids):
    assert open_benchmark("voc2012", voc.root, split).ids == ids


def test_the_test_split_has_no_truth(voc):
    shutil.rmtree(voc.root / "SegmentationClass")
    benchmark = open_benchmark("voc2012", voc.root, "test")
    assert not benchmark.has_truth
    (item,) = benchmark
    assert item.label is None
    assert item.image.shape == (24, 32, 3)
    with pytest.raises(DatasetError) as error:
        benchmark.check_truth()
    assert str(error.value) == (
        "the labels of this split of voc2012 are not public; expected a split with labels; "
        "fix: evaluate MODEL --save-predictions DIR, and send them to the benchmark's test server"
    )


def test_a_folder_that_lists_no_splits_is_read_whole(voc):
    shutil.rmtree(voc.root / "ImageSets")
    (voc.root / "JPEGImages/2008_000007.jpg").unlink()
    assert open_benchmark("voc2012", voc.root).ids == ("2007_000032",)


def test_a_split_without_a_file_is_named(voc):
    (voc.root / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(DatasetError, match=r"the split has no file; got .*val\.txt; expected --split of test, train$"):
        open_benchmark("voc2012", voc.root)


def test_a_split_that_is_no_text(voc):
    (voc.root / "ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"cannot use .*val\.txt"):
        open_benchmark("voc2012", voc.root)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((24, 32, 3), np.uint8), "2007_000032.png; got a label map is not a palette image; got mode RGB"),
        (np.zeros((5, 8), np.uint8), "2007_000032.png has another size than its image; got 5 x 8; expected 24 x 32"),
        (np.full((24, 32), 21, np.uint8), r"2007_000032.png has ids .* got 21 in 768 pixels; expected 0\.\.20, or 255"),
    ],
)
def test_labels_that_cannot_be_used_are_named(voc, array, message):
    save_png(voc.label_file, array)
    with pytest.raises(DatasetError, match=message) as error:
        open_benchmark("voc2012", voc.root)[0]
    assert "\n" not in str(error.value)


def test_not_a_folder():
    with pytest.raises(DatasetError) as error:
        open_benchmark("voc2012", Path("nowhere"))
    assert str(error.value) == (
        "not the benchmark's folder; got nowhere without JPEGImages; "
        "expected a folder with JPEGImages and SegmentationClass; fix: --root VOCdevkit/VOC2012"
    )
