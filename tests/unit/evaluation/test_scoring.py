import numpy as np
import pytest
import torch
from benchmark_folders import save_png, seeing_segmenter, voc_folder

from dataset_diffusion.errors import DatasetError, ModelError
from dataset_diffusion.evaluation.scoring import evaluate_predictions, evaluate_segmenter, predict_benchmark
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
    assert evaluate_segmenter(segmenter, benchmark, Views(flip=True)).miou == 1
    assert evaluate_segmenter(segmenter, benchmark, Views(window=10, stride=7)).miou == 1
    assert evaluate_segmenter(segmenter, benchmark, Views(scales=(0.1,))).miou < 1


@pytest.mark.parametrize("batch_size", [1, 2])
def test_images_are_read_a_batch_at_a_time(voc, segmenter, batch_size):
    benchmark = open_benchmark("voc2012", voc.root)
    pairs = predict_benchmark(segmenter, benchmark, batch_size=batch_size)
    next(pairs)
    voc.image_file.with_stem("2008_000007").unlink()
    if batch_size == 2:
        assert next(pairs)[0].id == "2008_000007"
    else:
        with pytest.raises(DatasetError, match=r"cannot read .*2008_000007\.jpg"):
            next(pairs)


def test_too_large_a_batch_is_told(voc, segmenter):
    segmenter.model.register_forward_pre_hook(
        lambda model, inputs: torch.empty(1 << 50) if len(inputs[0]) > 1 else None
    )
    benchmark = open_benchmark("voc2012", voc.root)
    with pytest.raises(
        ModelError, match=r"^the device has too little memory to predict 2 images at once; got "
    ) as error:
        evaluate_segmenter(segmenter, benchmark, batch_size=2)
    assert str(error.value).endswith("; fix: a smaller --batch-size, or windows: --sliding-window")
    assert evaluate_segmenter(segmenter, benchmark, batch_size=1).miou == 1


def test_the_test_split_is_predicted_but_not_scored(voc, segmenter, tmp_path):
    benchmark = open_benchmark("voc2012", voc.root, "test")
    ((image, prediction),) = predict_benchmark(segmenter, benchmark)
    assert image.label is None
    assert set(np.unique(prediction)) <= set(USED)
    for score in (lambda: evaluate_segmenter(segmenter, benchmark), lambda: evaluate_predictions(tmp_path, benchmark)):
        with pytest.raises(DatasetError, match="the labels of this split of voc2012 are not public"):
            score()


def test_saved_predictions_by_hand(voc, tmp_path):
    benchmark = open_benchmark("voc2012", voc.root)
    for image_id, label in voc.labels.items():
        save_png(tmp_path / f"{image_id}.png", np.where(label == 255, np.uint8(9), label))
    assert evaluate_predictions(tmp_path, benchmark).miou == 1
    # A quarter of each image is of each id, or ignored; the first is now all background.
    save_png(tmp_path / "2007_000032.png", np.zeros((24, 32), np.uint8))
    quarter = 24 * 32 // 4
    scores = evaluate_predictions(tmp_path, benchmark)
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
    with pytest.raises(DatasetError, match=message) as error:
        evaluate_predictions(tmp_path, open_benchmark("voc2012", voc.root))
    assert "\n" not in str(error.value)


def test_nothing_left_to_score(voc, tmp_path):
    with pytest.raises(DatasetError, match="nothing to score; got 0 images"):
        evaluate_predictions(tmp_path, open_benchmark("voc2012", voc.root), on_bad=lambda image_id, error: None)
