import pytest
import torch
from torch import nn

from dataset_diffusion.segmentation import models


class TinyNetwork(nn.Sequential):
    """A real network with everything that could make a resumed run differ: batch statistics and dropout."""

    def __init__(self, num_classes, pretrained):
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout2d(0.25),
            nn.Conv2d(8, num_classes, 1),
        )

    @property
    def encoder(self):
        return self[0]


@pytest.fixture
def tiny(monkeypatch):
    """The name of a segmenter that trains in milliseconds."""
    monkeypatch.setitem(models.SEGMENTERS, "tiny", TinyNetwork)
    return "tiny"


class Hungry(TinyNetwork):
    """A network that has room for two images."""

    def forward(self, images):
        if len(images) > 2:
            torch.empty(1 << 50)
        return super().forward(images)


@pytest.fixture
def hungry(monkeypatch):
    """The name of a segmenter that runs out of memory with more than two images at once."""
    monkeypatch.setitem(models.SEGMENTERS, "hungry", Hungry)
    return "hungry"


@pytest.fixture
def scenes():
    """Ten dark 16x16 images, each with a bright square of class 1 and an unlabelled border."""
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for index in range(10):
        image = torch.randint(0, 60, (3, 16, 16), generator=generator, dtype=torch.uint8)
        label = torch.zeros(16, 16, dtype=torch.int64)
        corner = 2 + index % 5
        image[:, corner : corner + 7, corner : corner + 7] += 190
        label[corner : corner + 7, corner : corner + 7] = 1
        label[0] = 255
        pairs.append((image, label))
    return pairs
