import numpy as np
import pytest

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.scorers.dichotomous import DichotomousScorer


@pytest.fixture
def mask():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 8:22] = 1
    return mask


def scores_of(*pairs):
    scorer = DichotomousScorer()
    for prediction, truth in pairs:
        scorer.add(prediction, truth, "photo")
    return scorer.scores()


def test_a_perfect_prediction(mask):
    scores = scores_of((mask * np.uint8(255), mask))
    assert scores.per_class_iou == {0: 1, 1: 1}
    extra = scores.extra
    assert [extra[name] for name in ("max_f", "weighted_f", "s_alpha")] == pytest.approx([1, 1, 1])
    assert extra["mean_f"] < 1  # at threshold 0 everything is foreground
    assert extra["mae"] == extra["hce"] == 0
    assert extra["max_e"] == pytest.approx(600 / 599)  # the implementation divides by the pixels less one


def test_the_opposite(mask):
    scores = scores_of((255 - mask * np.uint8(255), mask))
    assert scores.miou == scores.pixel_accuracy == 0
    assert scores.extra["mae"] == 1
    assert scores.extra["hce"] > 0


def test_measures_are_means_over_images_and_the_iou_is_over_the_dataset(mask):
    nothing = np.zeros_like(mask)
    scores = scores_of((mask * np.uint8(255), mask), (nothing, mask))
    assert scores.extra["mae"] == pytest.approx((0 + mask.mean()) / 2)
    assert scores.per_class_iou[1] == 0.5
    assert scores.num_images == 2


def test_half_is_foreground(mask):
    assert scores_of((np.where(mask == 1, np.uint8(128), np.uint8(127)), mask)).miou == 1


def test_sizes_that_differ_are_told_and_nothing_is_counted(mask):
    scorer = DichotomousScorer()
    scorer.add(mask * np.uint8(255), mask, "a.png")
    with pytest.raises(
        DatasetError, match=r"b\.png: prediction and truth differ in size; got 19 x 30; expected 20 x 30"
    ):
        scorer.add(mask[1:], mask, "b.png")
    assert scorer.scores().num_images == 1
    assert scorer.scores().extra["mae"] == 0
