import numpy as np
import pytest
import torch
from tests.helpers.folders import save_png, seeing_segmenter, voc_folder

from dataset_diffusion.errors import DatasetError, ModelError, Skipped
from dataset_diffusion.evaluation.scoring import predict_benchmark, read_predictions, score
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.segmentation.predict import Views

VOC = class_set("voc")
USED = (0, 3, 15)


@pytest.fixture
def voc(tmp_path):
    return voc_folder(tmp_path / "VOC2012")


@pytest.fixture
def segmenter():
    return seeing_segmenter(VOC, USED)


def test_views_reach_the_segmenter(voc, segmenter):
    benchmark = open_benchmark("voc2012", voc.root)

    def miou(views):
        return score(predict_benchmark(segmenter, benchmark, views), benchmark).miou

    assert miou(Views(flip=True)) == 1
    assert miou(Views(window=10, stride=7)) == 1
    assert miou(Views(scales=(0.1,))) < 1


@pytest.mark.parametrize("batch_size", [1, 2])
def test_images_are_read_a_batch_at_a_time(voc, segmenter, batch_size):
    benchmark = open_benchmark("voc2012", voc.root)
    predictions = predict_benchmark(segmenter, benchmark, batch_size=batch_size)
    next(predictions)
    voc.image_file.with_stem("2008_000007").unlink()
    if batch_size == 2:
        assert next(predictions).id == "2008_000007"
    else:
        with pytest.raises(DatasetError, match=r"cannot read .*2008_000007\.jpg"):
            next(predictions)


def test_too_large_a_batch_is_told(voc, segmenter):
    segmenter.model.register_forward_pre_hook(
        lambda model, inputs: torch.empty(1 << 50) if len(inputs[0]) > 1 else None
    )
    benchmark = open_benchmark("voc2012", voc.root)
    with pytest.raises(
        ModelError, match=r"^the device has too little memory to predict 2 images at once; got "
    ) as error:
        list(predict_benchmark(segmenter, benchmark, batch_size=2))
    assert str(error.value).endswith("; fix: a smaller --batch-size, or windows: --sliding-window")
    assert score(predict_benchmark(segmenter, benchmark, batch_size=1), benchmark).miou == 1


def test_the_test_split_is_predicted_but_not_scored(voc, segmenter, tmp_path):
    benchmark = open_benchmark("voc2012", voc.root, "test")
    (one,) = predict_benchmark(segmenter, benchmark)
    assert one.truth is None
    assert set(np.unique(one.prediction)) <= set(USED)
    for predictions in (predict_benchmark(segmenter, benchmark), read_predictions(tmp_path, benchmark)):
        with pytest.raises(DatasetError, match="the labels of this split of voc2012 are not public"):
            score(predictions, benchmark)


def test_saved_predictions_by_hand(voc, tmp_path):
    benchmark = open_benchmark("voc2012", voc.root)
    for image_id, label in voc.labels.items():
        save_png(tmp_path / f"{image_id}.png", np.where(label == 255, np.uint8(9), label))
    assert score(read_predictions(tmp_path, benchmark), benchmark).miou == 1
    # A quarter of each image is of each id, or ignored; the first is now all background.
    save_png(tmp_path / "2007_000032.png", np.zeros((24, 32), np.uint8))
    quarter = 24 * 32 // 4
    scores = score(read_predictions(tmp_path, benchmark), benchmark)
    assert scores.confusion_matrix.sum() == 6 * quarter
    assert scores.per_class_iou == pytest.approx({0: 2 / 4, 3: 1 / 2, 15: 1 / 2})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((24, 32, 3), np.uint8), "cannot use .*2007_000032.png; got a label map is not a palette image"),
        (np.zeros((8, 6), np.uint8), "2007_000032.png: prediction and truth differ in size; got 8 x 6; expected 24 x"),
        (np.full((24, 32), 255, np.uint8), "2007_000032.png: the prediction has ids out of range; got 255 in 768 pix"),
    ],
)
def test_predictions_that_cannot_be_used_are_named(voc, tmp_path, array, message):
    for image_id in voc.labels:
        save_png(tmp_path / f"{image_id}.png", array)
    benchmark = open_benchmark("voc2012", voc.root)
    with pytest.raises(DatasetError, match=message) as error:
        score(read_predictions(tmp_path, benchmark), benchmark)
    assert "\n" not in str(error.value)


def test_nothing_left_to_score(voc, tmp_path):
    benchmark, skipped = open_benchmark("voc2012", voc.root), Skipped()
    with pytest.raises(DatasetError, match="nothing to score; got 0 images"):
        score(read_predictions(tmp_path, benchmark, skip_bad=skipped), benchmark)
    assert list(skipped.reasons) == list(benchmark.ids)


def test_predictions_that_cannot_be_scored_are_left_out(voc, tmp_path):
    benchmark, skipped = open_benchmark("voc2012", voc.root), Skipped()
    first, second = benchmark.ids
    save_png(tmp_path / f"{first}.png", np.zeros((8, 6), np.uint8))
    save_png(tmp_path / f"{second}.png", np.zeros((24, 32), np.uint8))
    scores = score(read_predictions(tmp_path, benchmark, skip_bad=skipped), benchmark, skip_bad=skipped)
    assert scores.num_images == 1
    assert list(skipped.reasons) == [first]
    assert "prediction and truth differ in size" in skipped.reasons[first]
