import numpy as np
import pytest
import torch

from dataset_diffusion.calibration.examples import Example, agreement, evidence_of
from dataset_diffusion.config import LabelSettings
from dataset_diffusion.diffusion.pictures import Picture
from dataset_diffusion.records import Heatmaps, Prompt


@pytest.fixture
def example():
    """A cat (class 2) in the left half of a picture of 8 x 8 pixels; of its last row nothing is known."""
    prompt = Prompt(0, "a cat", "cat", (2,))
    target = np.zeros((8, 8), np.uint8)
    target[:, :4], target[7] = 2, 255
    return Example(Picture(np.zeros((8, 8, 3), np.uint8), prompt, seed=0), target)


def test_agreement_counts_what_both_are_sure_of(example):
    shown = torch.zeros(1, 8, 8, dtype=torch.float16)
    shown[0, :, :4] = 0.9
    assert agreement({0: shown}, [example], [0], 0.5, 0.5) == (1.0, 0.0)
    shown[0, :, 3] = 0.5  # one column of eight is uncertain
    assert agreement({0: shown}, [example], [0], 0.6, 0.4) == (1.0, 0.125)
    shown[0, :, 3] = 0.0
    miou, unsure = agreement({0: shown}, [example], [0], 0.5, 0.5)
    assert (miou, unsure) == (pytest.approx((21 / 28 + 28 / 35) / 2), 0.0)


def test_evidence_is_the_heatmaps_own_unless_it_is_refined(example):
    values = np.ones((1, 1, 2, 2), np.float16)
    heatmaps = Heatmaps((4,), values, np.ones((1, 1, 2), np.float32))
    found = evidence_of(heatmaps, example, LabelSettings())
    assert (found.shape, found.dtype) == ((1, 2, 2), torch.float16)
    found = evidence_of(heatmaps, example, LabelSettings(refine="pamr"))
    assert (found.shape, found.dtype) == ((1, 8, 8), torch.float16)
