import shutil

import numpy as np
import pytest
from tests.helpers.folders import cityscapes_folder, save_png

from dataset_diffusion.dataset.schema import encode_grey
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.readers.cityscapes import (
    ORIGINAL_IDS,
    decode_label_ids,
    decode_prediction,
    decode_train_ids,
    encode_prediction,
)
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.prompts.class_sets import class_set


@pytest.fixture
def cityscapes(tmp_path):
    return cityscapes_folder(tmp_path / "cityscapes")


def grey(*ids):
    return encode_grey(np.array([ids], np.uint8))


def test_original_ids_are_those_of_the_dataset():
    ids = dict(zip(class_set("cityscapes").names, ORIGINAL_IDS, strict=True))
    assert (ids["road"], ids["pole"], ids["person"], ids["bus"], ids["train"], ids["bicycle"]) == (
        7,
        17,
        24,
        28,
        31,
        33,
    )


def test_label_ids_become_class_ids():
    # unlabeled, static, road, sidewalk, parking, building, bicycle, caravan
    assert decode_label_ids(grey(0, 4, 7, 8, 9, 11, 33, 29)).tolist() == [[255, 255, 1, 2, 255, 3, 19, 255]]


def test_train_ids_become_class_ids():
    assert decode_train_ids(grey(0, 18, 255)).tolist() == [[1, 19, 255]]


def test_predictions_are_exchanged_in_original_ids():
    prediction = np.array([[0, 1, 19]], np.uint8)
    data = encode_prediction(prediction)
    assert decode_label_ids(data).tolist() == [[255, 1, 19]]
    assert np.array_equal(decode_prediction(data), prediction)
    assert decode_prediction(grey(4, 29)).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (decode_label_ids, r"got 254 in 1 pixels; expected original ids 0\.\.33$"),
        (decode_train_ids, r"got 254 in 1 pixels; expected train ids 0\.\.18, or 255 to ignore$"),
    ],
)
def test_other_ids_are_refused(decode, message):
    with pytest.raises(DatasetError, match=f"ids outside the class set; {message}"):
        decode(grey(7, 254))


def test_train_ids_are_read_where_there_is_nothing_else(cityscapes):
    for path in (cityscapes.root / "gtFine").rglob("*_labelIds.png"):
        label = decode_label_ids(path.read_bytes())
        path.unlink()
        train_ids = np.where(label == 255, label, label - np.uint8(1))
        save_png(path.with_name(path.name.replace("labelIds", "labelTrainIds")), train_ids)
    for item in open_benchmark("cityscapes", cityscapes.root):
        assert np.array_equal(item.label, cityscapes.labels[item.id])


def test_the_background_is_a_miss_and_nobodys_false_alarm(cityscapes):
    benchmark = open_benchmark("cityscapes", cityscapes.root)
    scorer = benchmark.task.scorer(benchmark.class_set)
    scorer.add(np.array([[0, 1, 0]], np.uint8), np.array([[1, 1, 255]], np.uint8), "street")
    scores = scorer.scores()
    assert scores.per_class_iou == {1: 0.5}
    assert scores.miou == scores.pixel_accuracy == 0.5
    assert 0 in scores.absent_classes


def test_the_test_split_is_read_without_its_empty_labels(cityscapes):
    for kind in ("leftImg8bit", "gtFine"):
        shutil.move(cityscapes.root / kind / "val", cityscapes.root / kind / "test")
    benchmark = open_benchmark("cityscapes", cityscapes.root, "test")
    assert len(benchmark) == 2
    assert not benchmark.has_truth


def test_a_split_without_frames(cityscapes):
    (cityscapes.root / "leftImg8bit" / "train").mkdir()
    (cityscapes.root / "gtFine" / "train").mkdir()
    with pytest.raises(DatasetError, match=r"no image in the split; got .*leftImg8bit/train; expected <city>/<frame>"):
        open_benchmark("cityscapes", cityscapes.root, "train")
