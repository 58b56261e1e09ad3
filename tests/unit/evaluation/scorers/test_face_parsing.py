import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from dataset_diffusion.evaluation.scorers.face_parsing import FaceParsingScorer, face_parsing_scores
from dataset_diffusion.prompts.class_sets import ClassSet

FACE = ClassSet.from_names(["skin", "nose", "hat"])


def test_by_hand():
    # Truth: 2 background, 4 skin, 2 nose; of the skin 3 are found, of the nose 1, whose rest is taken for skin.
    confusion = np.array([[2, 0, 0, 0], [1, 3, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    scores = face_parsing_scores(confusion, FACE)
    assert scores["per_class_f1"] == pytest.approx({"background": 4 / 5, "skin": 6 / 8, "nose": 2 / 3})
    assert scores["mean_f1"] == pytest.approx((6 / 8 + 2 / 3) / 2)
    assert scores["per_class_accuracy"] == pytest.approx({"background": 1, "skin": 3 / 4, "nose": 1 / 2})


def test_a_part_that_is_only_predicted_has_an_f1_of_0_and_no_accuracy():
    scorer = FaceParsingScorer(FACE)
    scorer.add(np.array([[3, 0]], np.uint8), np.array([[0, 0]], np.uint8), "face")
    extra = scorer.scores().extra
    assert extra["per_class_f1"]["hat"] == extra["mean_f1"] == 0
    assert extra["per_class_accuracy"] == {"background": 0.5}


def test_a_face_without_a_part():
    assert face_parsing_scores(np.diag([4, 0, 0, 0]), FACE)["mean_f1"] is None


ids = st.integers(0, 3)
maps = hnp.arrays(np.uint8, (4, 5), elements=ids)


@pytest.mark.slow
@given(st.lists(st.tuples(maps, maps), min_size=1, max_size=3))
def test_equals_counting_with_masks(pairs):
    scorer = FaceParsingScorer(FACE)
    for number, (prediction, truth) in enumerate(pairs):
        scorer.add(prediction, truth, str(number))
    extra = scorer.scores().extra
    prediction, truth = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    for part, name in enumerate(["background", *FACE.names]):
        hits = np.sum((prediction == part) & (truth == part))
        if (prediction == part).any() or (truth == part).any():
            precision, recall = hits / max(1, np.sum(prediction == part)), hits / max(1, np.sum(truth == part))
            harmonic = 2 * precision * recall / (precision + recall) if hits else 0
            assert extra["per_class_f1"][name] == pytest.approx(harmonic, abs=1e-6)
        if (truth == part).any():
            assert extra["per_class_accuracy"][name] == pytest.approx((prediction == truth)[truth == part].mean())
