import numpy as np

from dataset_diffusion.calibration.examples import Example
from dataset_diffusion.calibration.thresholds import TRIED_EXPONENTS, choose_labels
from dataset_diffusion.config import LearnSettings
from dataset_diffusion.diffusion.pictures import Picture
from dataset_diffusion.records import Heatmaps, Prompt


def test_the_exponent_and_threshold_that_tell_the_class_from_the_rest_are_found():
    """Only after two products the heatmap is the cat's; it is 0.37 there and 0.18 elsewhere."""
    prompt = Prompt(0, "a cat", "cat", (2,))
    target = np.zeros((8, 8), np.uint8)
    target[:, :4] = 2
    values = np.full((len(TRIED_EXPONENTS), 1, 8, 8), 0.18, np.float16)
    values[TRIED_EXPONENTS.index(2), 0, :, :4] = 0.37
    heatmaps = Heatmaps(TRIED_EXPONENTS, values, np.ones((len(TRIED_EXPONENTS), 1, 2), np.float32))
    example = Example(Picture(np.zeros((8, 8, 3), np.uint8), prompt, seed=0), target)
    chosen = choose_labels([heatmaps], [example], LearnSettings(refine="none", uncertain=0.0))
    assert chosen.exponent == 2
    assert 0.18 < chosen.uncertainty_threshold <= chosen.threshold <= 0.37
