from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from dataset_diffusion.evaluation.scorers.discovery import UNMATCHED, DiscoveryScorer, match_segments
from dataset_diffusion.evaluation.scorers.semantic import count_pairs
from dataset_diffusion.prompts.class_sets import ClassSet

CLASSES = ClassSet.from_names(["cat", "dog", "bus"])


def scores_of(*pairs):
    scorer = DiscoveryScorer(CLASSES)
    for prediction, truth in pairs:
        scorer.add(np.array(prediction, np.uint8), np.array(truth, np.uint8), "photo")
    return scorer.scores()


def test_ids_do_not_matter():
    truth = [[0, 0, 1], [2, 2, 1]]
    scores = scores_of(([[7, 7, 0], [254, 254, 0]], truth), (truth, truth))
    assert scores.miou == scores.pixel_accuracy == 1
    assert scores.extra == {"mean_object_iou": 1, "num_objects": 4}
    assert scores.absent_classes == (3,)


def test_a_segment_cut_in_two_is_found_by_its_larger_part():
    # The dog has 4 pixels, of which segment 5 has 3 and segment 6 has 1.
    scores = scores_of(([[0, 5, 5, 5, 6]], [[0, 2, 2, 2, 2]]))
    assert scores.per_class_iou == {0: 1, 2: 0.75}
    assert scores.pixel_accuracy == 4 / 5
    assert scores.extra["mean_object_iou"] == 0.75


def test_two_objects_in_one_segment_are_one_find():
    # Segment 1 has 5 pixels: IoU 3/5 with the dog and 2/5 with the bus.
    scores = scores_of(([[0, 1, 1, 1, 1, 1]], [[0, 2, 2, 2, 3, 3]]))
    assert scores.per_class_iou == pytest.approx({0: 1, 2: 3 / 5, 3: 0})
    assert scores.extra == {"mean_object_iou": pytest.approx((3 / 5 + 0) / 2), "num_objects": 2}


def test_segments_that_do_not_touch_are_not_matched():
    # One segment over cat and dog is the cat's; segment 9 lies on ignored pixels alone and must not become the dog.
    scores = scores_of(([[1, 1, 1, 9]], [[1, 1, 2, 255]]))
    assert scores.per_class_iou == pytest.approx({1: 2 / 3, 2: 0})
    assert scores.extra["mean_object_iou"] == pytest.approx(1 / 3)


def test_no_object_at_all():
    assert scores_of(([[4, 4]], [[0, 0]])).extra == {"mean_object_iou": None, "num_objects": 0}


@given(
    hnp.arrays(np.uint8, (4, 5), elements=st.integers(0, 3)),
    hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2])),
)
def test_the_assignment_is_the_best_of_all(prediction, truth):
    def iou(segment, true):
        return np.sum((prediction == segment) & (truth == true)) / np.sum((prediction == segment) | (truth == true))

    true, segments = np.unique(truth).tolist(), [*np.unique(prediction).tolist(), None, None, None]
    best = max(
        sum(iou(segment, one) for segment, one in zip(chosen, true, strict=True) if segment is not None)
        for chosen in permutations(segments, len(true))
    )
    matched, overlap = match_segments(count_pairs(prediction, truth, "photo"))
    assert overlap.sum() == pytest.approx(best)
    for segment in np.unique(prediction).tolist():
        if matched[segment] != UNMATCHED:
            assert iou(segment, matched[segment]) == pytest.approx(overlap[matched[segment]])
