import json

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.evaluation.scorers.semantic import SemanticScorer, evaluate_labels, to_results
from dataset_diffusion.prompts.class_sets import ClassSet

K = 4
sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))


@st.composite
def datasets(draw):
    """One to four pairs of label maps over ids 0..3, of which at least one pixel is labelled."""
    pairs = []
    for size in draw(st.lists(sizes, min_size=1, max_size=4)):
        prediction = draw(hnp.arrays(np.uint8, size, elements=st.integers(0, K - 1)))
        truth = draw(hnp.arrays(np.uint8, size, elements=st.sampled_from([0, 1, 2, 3, 255])))
        pairs.append((prediction, truth))
    pairs[0][1][0, 0] = draw(st.integers(0, K - 1))
    return pairs


def test_two_by_two_by_hand():
    # Truth 0 0 / 1 1, predicted 0 1 / 1 1: class 0 has 1 of 2 pixels in the union, class 1 has 2 of 3.
    scores = evaluate_labels([(np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 1]]))], num_classes=2)
    assert scores.per_class_iou == pytest.approx({0: 1 / 2, 1: 2 / 3})
    assert scores.miou == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores.pixel_accuracy == 0.75
    assert scores.confusion_matrix.tolist() == [[1, 1], [0, 2]]
    assert scores.num_images == 1
    assert scores.absent_classes == ()


def test_one_matrix_over_the_dataset_not_a_mean_over_images():
    # The first image is all right; the second has four pixels, all wrong.
    first = (np.zeros((1, 1), int), np.zeros((1, 1), int))
    second = (np.ones((2, 2), int), np.zeros((2, 2), int))
    scores = evaluate_labels([first, second], num_classes=2)
    assert scores.per_class_iou == pytest.approx({0: 1 / 5, 1: 0})
    assert scores.miou == pytest.approx(1 / 10)


def test_ignored_pixels_count_for_nothing():
    # Without the ignored pixels the prediction is right; class 2 is predicted there only, so it is absent.
    scores = evaluate_labels([(np.array([[0, 1], [2, 2]]), np.array([[0, 1], [255, 255]]))], num_classes=3)
    assert scores.miou == scores.pixel_accuracy == 1
    assert scores.confusion_matrix.sum() == 2
    assert scores.absent_classes == (2,)


def test_an_id_that_stands_for_no_class_is_a_miss_and_nobodys_false_alarm():
    scorer = SemanticScorer(3, no_class=9)
    scorer.add(np.array([[1, 9, 9, 2]]), np.array([[1, 1, 255, 2]]), "image")
    scores = scorer.scores()
    assert scores.per_class_iou == {1: 0.5, 2: 1.0}
    assert scores.pixel_accuracy == pytest.approx(2 / 3)
    assert scores.confusion_matrix.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert scores.absent_classes == (0,)


def test_an_image_that_is_refused_is_not_counted():
    scorer = SemanticScorer(2)
    for prediction, truth in (([[1, 5]], [[1, 1]]), ([[1, 1]], [[1, 5]])):
        with pytest.raises(DatasetError):
            scorer.add(np.array(prediction), np.array(truth), "image")
    assert scorer.num_images == scorer.confusion.sum() == 0


def test_without_an_ignore_index_every_pixel_counts():
    pair = np.array([[0, 1]]), np.array([[0, 0]])
    assert evaluate_labels([pair], num_classes=2, ignore_index=None).pixel_accuracy == 0.5
    with pytest.raises(DatasetError, match=r"image 0: the truth .* out of range; got 255 in 2 .* expected 0\.\.1$"):
        evaluate_labels([(pair[0], np.full((1, 2), 255))], num_classes=2, ignore_index=None)


@pytest.mark.parametrize("index", [-1, -100, 256])
def test_an_ignore_index_that_is_no_id_is_refused(index):
    with pytest.raises(ConfigError, match=f"got {index!r}; expected 0..255, or None$"):
        evaluate_labels([(np.zeros((1, 1), int), np.zeros((1, 1), int))], num_classes=2, ignore_index=index)


def test_another_ignore_index():
    scores = evaluate_labels([(np.array([[0, 1]]), np.array([[0, 9]]))], num_classes=2, ignore_index=9)
    assert scores.confusion_matrix.tolist() == [[1, 0], [0, 0]]


def test_absent_classes_are_left_out_of_the_mean_and_listed():
    # Class 3 occurs in a prediction only: it is not absent, its IoU is 0.
    scores = evaluate_labels([(np.array([[0, 3]]), np.array([[0, 0]]))], num_classes=5)
    assert scores.absent_classes == (1, 2, 4)
    assert scores.per_class_iou == {0: 0.5, 3: 0.0}
    assert scores.miou == 0.25


@pytest.mark.slow
@given(datasets())
def test_equals_torchmetrics(pairs):
    from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

    scores = evaluate_labels(pairs, K)
    prediction, truth = (torch.from_numpy(np.concatenate([pair[side].ravel() for pair in pairs])) for side in (0, 1))
    matrix = multiclass_confusion_matrix(prediction.long(), truth.long(), K, ignore_index=255)
    assert np.array_equal(scores.confusion_matrix, matrix.numpy())
    expected = multiclass_jaccard_index(prediction.long(), truth.long(), K, average="none", ignore_index=255)
    for class_id, iou in scores.per_class_iou.items():
        assert iou == pytest.approx(expected[class_id].item(), abs=1e-6)


@pytest.mark.slow
@given(datasets())
def test_equals_counting_pixel_by_pixel(pairs):
    scores = evaluate_labels(pairs, K)
    pixels = [
        (int(guess), int(true))
        for prediction, truth in pairs
        for guess, true in zip(prediction.flat, truth.flat, strict=True)
        if true != 255
    ]
    iou = {}
    for class_id in range(K):
        union = sum(class_id in pixel for pixel in pixels)
        if union:
            iou[class_id] = sum(pixel == (class_id, class_id) for pixel in pixels) / union
    assert scores.per_class_iou == pytest.approx(iou)
    assert scores.absent_classes == tuple(set(range(K)) - set(iou))
    assert scores.miou == pytest.approx(sum(iou.values()) / len(iou))
    assert scores.pixel_accuracy == pytest.approx(sum(guess == true for guess, true in pixels) / len(pixels))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, torch.uint8, torch.int32, torch.int64])
def test_any_integers_will_do(kind):
    prediction, truth = [[0, 1], [2, 2]], [[0, 1], [255, 2]]
    if isinstance(kind, torch.dtype):
        pair = torch.tensor(prediction, dtype=kind), torch.tensor(truth, dtype=kind)
    else:
        pair = np.array(prediction, kind), np.array(truth, kind)
    assert evaluate_labels(iter([pair]), num_classes=3).miou == 1


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([[0, 255]], [[0, 0]], r"image 1: the prediction has ids out of range; got 255 in 1 pixels; expected 0\.\.2$"),
        ([[0, 3]], [[0, 255]], r"image 1: the prediction has ids out of range; got 3 in 1 pixels"),
        ([[0, -1]], [[0, 0]], r"image 1: the prediction has ids out of range; got -1\.\.0; expected 0\.\.255"),
        ([[0, 256]], [[0, 0]], r"image 1: the prediction has ids out of range; got 0\.\.256"),
        ([[0, 1]], [[0, 7]], r"image 1: the truth has ids .* got 7 in 1 pixels; expected 0\.\.2, or 255 to ignore"),
        ([[0, 1]], [[0], [1]], r"image 1: prediction and truth differ in size; got 1 x 2; expected 2 x 1"),
        ([[0.0, 1.0]], [[0, 1]], r"image 1: the prediction is not a label map; got float64 of shape \(1, 2\)"),
        ([0, 1], [[0, 1]], r"image 1: the prediction is not a label map; got int64 of shape \(2,\)"),
    ],
)
def test_mistakes_name_the_image(prediction, truth, message):
    good = np.zeros((1, 2), int), np.zeros((1, 2), int)
    with pytest.raises(DatasetError, match=message) as error:
        evaluate_labels([good, (np.array(prediction), np.array(truth))], num_classes=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pairs", [[], [(np.array([[0]]), np.array([[255]]))]])
def test_nothing_to_score(pairs):
    with pytest.raises(DatasetError, match=f"nothing to score; got {len(pairs)} images"):
        evaluate_labels(pairs, num_classes=2)


def test_results_have_class_names_and_are_json():
    classes = ClassSet.from_names(["cat", "hand truck", "bus"])
    scores = evaluate_labels([(np.array([[0, 2]]), np.array([[0, 1]]))], num_classes=4)
    results = json.loads(json.dumps(to_results(scores, classes, {"seed": 3})))
    assert results == {
        "miou": pytest.approx(1 / 3),
        "per_class_iou": {"background": 1.0, "cat": 0.0, "hand truck": 0.0},
        "pixel_accuracy": 0.5,
        "num_images": 1,
        "absent_classes": ["bus"],
        "classes": ["background", "cat", "hand truck", "bus"],
        "confusion_matrix": [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        "config": {"seed": 3},
    }
