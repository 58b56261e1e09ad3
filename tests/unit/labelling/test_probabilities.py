import numpy as np
import pytest
import torch

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.probabilities import label_probabilities
from dataset_diffusion.records import Heatmaps

SETTINGS = LabelSettings(exponent=0, threshold=0.5, uncertainty_threshold=0.5)


def heatmaps(values):
    values = np.array(values, np.float16)
    return Heatmaps((0,), values[None], np.zeros((1, len(values), 2), np.float32))


def test_probabilities_by_hand():
    # Odds against the background: 0.75 is 3 to 1, 0.5 is 1 to 1, 0.25 is 1 to 3.
    found = label_probabilities(
        heatmaps([[[0.75, 0.25]], [[0.5, 0.25]]]), (3, 1), 4, SETTINGS, np.zeros((1, 2, 3), np.uint8)
    )
    wanted = torch.tensor([[[1 / 5, 3 / 5]], [[1 / 5, 1 / 5]], [[0.0, 0.0]], [[3 / 5, 1 / 5]]])
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_the_middle_of_the_band_is_undecided():
    settings = LabelSettings(exponent=0, threshold=0.5, uncertainty_threshold=0.25)
    found = label_probabilities(heatmaps([[[0.375]]]), (1,), 2, settings, np.zeros((1, 1, 3), np.uint8))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.5, 0.5]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("refine", ["none", "pamr"])
def test_the_most_probable_label_is_that_of_the_label_map_without_a_band(refine):
    random = np.random.default_rng(4)
    maps, image = heatmaps(random.random((2, 5, 6))), random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    settings = LabelSettings(exponent=0, threshold=0.6, uncertainty_threshold=0.6, refine=refine)
    label = label_map(maps, (2, 5), (20, 24), settings, image=image)
    found = label_probabilities(maps, (2, 5), 7, settings, image)
    assert np.array_equal(found.argmax(dim=0).numpy(), label)
    assert len(np.unique(label)) == 3
    torch.testing.assert_close(found.sum(dim=0), torch.ones(20, 24))


def test_an_exponent_that_is_not_stored():
    with pytest.raises(ConfigError, match="no heatmaps are stored for this exponent; got 4"):
        label_probabilities(heatmaps([[[0.5]]]), (1,), 2, LabelSettings(exponent=4), np.zeros((1, 1, 3), np.uint8))
