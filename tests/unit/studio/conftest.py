import numpy as np
import pytest
from tests.helpers import factories
from tests.helpers.factories import FORKLIFTS, make_heatmaps, make_sample

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.quality import quality_scores

SIZE = (12, 20)


def draw(index):
    classes = ((1,), (2, 1))[index % 2]
    words = tuple(FORKLIFTS.names[number - 1] for number in classes)
    heatmaps = make_heatmaps(index, len(classes), (0, 4), (3, 5))
    image = np.random.default_rng(index).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    label = label_map(heatmaps, classes, SIZE, LabelSettings())
    quality = quality_scores(label, classes, heatmaps)
    return make_sample(
        index, classes=classes, words=words, image=image, label=label, heatmaps=heatmaps, quality=quality
    )


@pytest.fixture
def dataset(tmp_path):
    """Seven samples of 12 x 20 pixels with heatmaps of two exponents."""
    provenance = Provenance(seed=0, label=LabelSettings())
    return factories.write_dataset(tmp_path / "data", draw, num_samples=7, shard_size=4, provenance=provenance)
