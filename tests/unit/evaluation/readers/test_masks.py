import numpy as np
import pytest
from tests.helpers.folders import dis5k_folder, save_png

from dataset_diffusion.dataset.schema import encode_grey
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.readers.masks import decode_mask
from dataset_diffusion.evaluation.table import open_benchmark


@pytest.fixture
def dis5k(tmp_path):
    return dis5k_folder(tmp_path / "DIS5K")


def test_brighter_than_half_is_foreground():
    assert decode_mask(encode_grey(np.array([[0, 128, 129, 255]], np.uint8))).tolist() == [[0, 0, 1, 1]]


def test_the_root_may_be_of_one_split(dis5k):
    assert open_benchmark("dis5k", dis5k.root / "DIS-VD").ids == open_benchmark("dis5k", dis5k.root).ids


def test_another_split_by_its_folder(dis5k):
    (dis5k.root / "DIS-VD").rename(dis5k.root / "DIS-TE1")
    assert len(open_benchmark("dis5k", dis5k.root, "DIS-TE1")) == 2
    with pytest.raises(DatasetError) as error:
        open_benchmark("dis5k", dis5k.root)
    assert str(error.value) == (
        f"not the benchmark's folder; got {dis5k.root}/DIS-VD; expected im and gt in it "
        f"({dis5k.root} has the splits: DIS-TE1); fix: --root DIS5K --split DIS-TE1"
    )


def test_the_layout_of_ecssd(dis5k):
    split = dis5k.root / "DIS-VD"
    (split / "im").rename(split / "images")
    (split / "gt").rename(split / "ground_truth_mask")
    assert open_benchmark("dis5k", split).ids == tuple(dis5k.labels)


def test_a_split_without_photos(dis5k):
    for photo in (dis5k.root / "DIS-VD" / "im").iterdir():
        photo.unlink()
    with pytest.raises(DatasetError, match=r"no image in the split; got .*DIS-VD/im"):
        open_benchmark("dis5k", dis5k.root)


def test_a_mask_of_another_size(dis5k):
    save_png(dis5k.label_file, np.zeros((3, 4), np.uint8))
    with pytest.raises(DatasetError, match=r"#2\.png has another size than its image; got 3 x 4; expected 24 x 32"):
        open_benchmark("dis5k", dis5k.root)[0]
