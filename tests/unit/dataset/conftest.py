import numpy as np
import pytest

from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Heatmaps, Prompt, Sample


@pytest.fixture
def classes():
    return ClassSet.from_names(["forklift", "hand truck"])


@pytest.fixture
def make_sample():
    """A function that makes the sample of an index: two classes, 6 x 9 pixels, heatmaps of 2 exponents unless told."""

    def make(index, with_heatmaps=True):
        random = np.random.default_rng(index)
        heatmaps = Heatmaps(
            exponents=(0, 4),
            values=random.random((2, 2, 3, 4)).astype(np.float16),
            ranges=random.random((2, 2, 2)).astype(np.float32),
        )
        return Sample(
            seed=2**63 - 1 - index,
            prompt=Prompt(
                index, "a yard; hand truck forklift", "hand truck forklift", (2, 1), ("hand truck", "forklift")
            ),
            image=random.integers(0, 256, (6, 9, 3), dtype=np.uint8),
            label=random.choice(np.array([0, 1, 2, 255], np.uint8), (6, 9)),
            heatmaps=heatmaps if with_heatmaps else None,
            quality={"uncertain": 0.25, "presence": 1 / 3},
        )

    return make
