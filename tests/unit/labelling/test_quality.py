import numpy as np

from dataset_diffusion.labelling.quality import presence, quality_scores
from dataset_diffusion.records import Heatmaps

LABEL = np.array([[0, 0, 255, 3], [0, 5, 5, 5]], np.uint8)


def heatmaps():
    ranges = np.array([[[0.0, 0.5], [0.125, 0.25]], [[0.1, 0.2], [0.1, 0.2]]], np.float32)
    return Heatmaps((0, 4), np.zeros((2, 2, 1, 1), np.float16), ranges)


def test_presence_is_the_raw_maximum_before_any_product():
    np.testing.assert_array_equal(presence(heatmaps()), np.float32([0.5, 0.25]))


def test_scores_by_hand():
    assert quality_scores(LABEL, heatmaps()) == {"uncertain": 1 / 8, "foreground": 4 / 8, "presence": 0.25}


def test_known_truth_has_no_presence():
    assert quality_scores(LABEL, None) == {"uncertain": 1 / 8, "foreground": 4 / 8}


def test_ignore_index_is_an_argument():
    assert quality_scores(LABEL, None, ignore_index=5) == {"uncertain": 3 / 8, "foreground": 2 / 8}
