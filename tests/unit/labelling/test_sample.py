import numpy as np
import pytest
import torch

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.labelling.sample import label_generation
from dataset_diffusion.records import AttentionMaps, Generation, Prompt

CAT = Prompt(0, "a cat; cat", "cat", (5,))
PICTURE = np.zeros((8, 8, 3), np.uint8)


def attend_to(left_half):
    """Attention on one half of the picture, with self-attention that leaves it there."""
    cross = torch.zeros(1, 2, 2)
    cross[0, :, 0 if left_half else 1] = 1.0
    return AttentionMaps(cross, torch.eye(4), (2, 2))


@pytest.mark.parametrize("left", [True, False])
def test_the_class_is_where_its_attention_is(left):
    sample = label_generation(CAT, 7, Generation(PICTURE, attend_to(left)), LabelSettings())
    assert (sample.seed, sample.prompt, sample.image.shape) == (7, CAT, (8, 8, 3))
    column = 0 if left else -1
    assert (sample.label[:, column] == 5).all()
    assert (sample.label[:, -1 - column] == 0).all()
    assert sample.heatmaps.exponents == (0, 1, 2, 4, 8)
    assert set(sample.quality) >= {"presence"}


def test_refinement_looks_at_the_stored_picture():
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (2, 8, 8, 3), np.uint8)
    settings = LabelSettings(refine="pamr")
    labels = [
        label_generation(CAT, 0, Generation(pictures[0], attend_to(True)), settings, stored).label
        for stored in (None, pictures[0], pictures[1])
    ]
    assert np.array_equal(labels[0], labels[1])
    assert not np.array_equal(labels[0], labels[2])


def test_an_image_without_attention_cannot_be_labelled():
    with pytest.raises(ValueError, match="can only be labelled from its attention"):
        label_generation(CAT, 0, Generation(PICTURE, None), LabelSettings())
