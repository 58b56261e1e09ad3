import numpy as np
import pytest
import torch

from dataset_diffusion.labelling.quality import presence, quality_scores, stand_out, strongest_attention
from dataset_diffusion.records import AttentionMaps, Heatmaps

LABEL = np.array([[3, 0, 255, 3], [0, 5, 5, 5]], np.uint8)


def heatmaps(exponents=(0, 4)):
    """Two classes; after no product the maxima are 0.9, after the next stored one 0.5 and 0.25."""
    ranges = np.array([[[0.0, 0.9], [0.0, 0.9]], [[0.0, 0.5], [0.125, 0.25]]], np.float32)
    values = np.array([[[[0.0, 1.0]], [[0.0, 1.0]]], [[[1.0, 0.5]], [[0.0, 1.0]]]], np.float16)
    return Heatmaps(exponents, values[: len(exponents)], ranges[: len(exponents)])


def test_presence_is_the_maximum_times_the_concentration_after_the_first_product():
    # 0.5 * (1 - 0.75) and 0.25 * (1 - 0.5).
    np.testing.assert_array_equal(presence(heatmaps()), np.float32([0.125, 0.125]))


def test_presence_without_a_product_reads_the_map_there_is():
    np.testing.assert_array_equal(presence(heatmaps(exponents=(0,))), np.float32([0.45, 0.45]))


def spike(peak, where):
    """The heatmaps of one class whose raw map is ``peak`` at some cells and 0 elsewhere."""
    values = np.zeros((2, 1, 4, 4), np.float16)
    values[:, :, where] = 1.0
    return Heatmaps((0, 1), values, np.full((2, 1, 2), (0.0, peak), np.float32))


def test_a_weak_map_and_a_spread_map_score_below_a_strong_small_one():
    drawn = presence(spike(0.8, slice(0, 1)))
    assert presence(spike(0.1, slice(0, 1))) < drawn
    assert presence(spike(0.8, slice(0, 3))) < drawn


def test_scores_by_hand():
    assert quality_scores(LABEL, (5, 3), heatmaps()) == {
        "uncertain": 1 / 8,
        "foreground": 5 / 8,
        "area.5": 3 / 8,
        "components.5": 1.0,
        "area.3": 2 / 8,
        "components.3": 2.0,
        "presence.5": 0.125,
        "presence.3": 0.125,
        "presence": 0.125,
    }


def test_known_truth_has_no_presence():
    scores = quality_scores(LABEL, (5,), None)
    assert scores == {"uncertain": 1 / 8, "foreground": 5 / 8, "area.5": 3 / 8, "components.5": 1.0}


def test_a_class_without_a_pixel_has_no_component():
    scores = quality_scores(LABEL, (9,), None)
    assert (scores["area.9"], scores["components.9"]) == (0.0, 0.0)


def test_the_lowest_presence_stands_for_the_sample():
    both = heatmaps()
    ranges = both.ranges.copy()
    ranges[1, 1] = (0.0, 0.1)
    scores = quality_scores(LABEL, (5, 3), Heatmaps(both.exponents, both.values, ranges))
    assert scores["presence"] == scores["presence.3"] == pytest.approx(0.05)


def test_the_strongest_attention_is_that_after_one_product():
    spread = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    attention = AttentionMaps(torch.tensor([[[0.8, 0.2]], [[0.0, 0.4]]]), spread, (1, 2))
    np.testing.assert_allclose(strongest_attention(attention), [0.5, 0.3], rtol=1e-6)


def test_a_class_stands_out_among_its_own_scores():
    scores = np.array([[1.0, 7.0, 0.1], [2.0, 7.0, 0.1], [3.0, 7.0, 0.1], [9.0, 8.0, 0.1], [2.0, 7.0, 0.1]])
    found = stand_out(scores)
    assert found[:, 0].tolist() == [-1.0, 0.0, 1.0, 7.0, 0.0]
    assert not found[:, 1:].any()  # without a spread nothing is known
    assert not stand_out(scores[:1]).any()
