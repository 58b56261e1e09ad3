from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.helpers.factories import write_dataset

from dataset_diffusion.dataset.filtering.rules import parse_rule
from dataset_diffusion.dataset.filtering.select import Selection, judge


@pytest.fixture
def smooth_image():
    """A function that makes the image of a seed: blurred blocks of colour."""

    def make(seed, size=(48, 40)):
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))

    return make


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Folder of a small CLIP model."""
    from tests.helpers.tiny_clip import save_tiny_clip

    path = tmp_path_factory.mktemp("clip")
    save_tiny_clip(path)
    return path


@pytest.fixture
def store_of(tmp_path, classes, make_sample):
    """A function that writes a dataset with these scores, and with these images if given; prompts name classes 2, 1."""

    def write(scores, images=None):
        samples = [replace(make_sample(index), quality=one) for index, one in enumerate(scores)]
        if images is not None:
            samples = [
                replace(sample, image=image, label=np.zeros(image.shape[:2], np.uint8))
                for sample, image in zip(samples, images, strict=True)
            ]
        return write_dataset(tmp_path / "dataset", samples, classes, shard_size=2)

    return write


@pytest.fixture
def select():
    """A function that applies rules, given as texts, to a dataset."""

    def apply(store, *rules, image_text="no model is asked"):
        return Selection.of(list(judge(store, [parse_rule(rule) for rule in rules], image_text)), len(rules))

    return apply
