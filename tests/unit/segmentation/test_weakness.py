import json
import math

import pytest
import torch
from torch import nn

from dataset_diffusion.prompts.balance import EVEN
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.weakness import LEAST, MOST, USUAL_IMAGES, Weakness, find_weakness

pytestmark = pytest.mark.slow

CLASSES = ClassSet.from_names(["red thing", "green thing", "blue thing"])


class Prompted(list):
    """Images, label maps and the classes of the prompts."""

    def __getitem__(self, index):
        return super().__getitem__(index)[:2]

    def classes_of(self, index):
        return super().__getitem__(index)[2]

    def attention(self, index):
        raise NotImplementedError


@pytest.fixture
def by_colour():
    """A segmenter that is sure of the strongest colour, and of the background where all is black."""
    network = nn.Conv2d(3, 4, 1)
    network.weight.data = torch.tensor([[0.0, 0, 0], [90, 0, 0], [0, 90, 0], [0, 0, 90]])[:, :, None, None]
    # What a black pixel is after normalisation: -2.12, -2.04, -1.80.
    network.bias.data = torch.tensor([50.0, 190.6, 183.2, 162.4])
    return Segmenter(network, "by colour", 4).eval()


def image(ids):
    """One row of pixels of the colours of class ids."""
    pixels = torch.zeros(3, 1, len(ids), dtype=torch.uint8)
    for column, class_id in enumerate(ids):
        if class_id:
            pixels[class_id - 1, 0, column] = 255
    return pixels


def test_weakness_by_hand(by_colour):
    data = Prompted(
        [
            (image([1, 1, 0, 0]), torch.tensor([[1, 1, 0, 0]]), (1,)),
            # The label says green where the segmenter sees red, blue, nothing; what is uncertain does not count.
            (image([1, 2, 3, 0, 2]), torch.tensor([[2, 2, 3, 2, 255]]), (3, 2)),
        ]
    )
    weakness = find_weakness(by_colour, data, CLASSES)
    assert weakness.classes == pytest.approx({1: 0.0, 2: (2 / 3) / 2, 3: 0.0}, abs=1e-3)
    assert weakness.pairs == pytest.approx({(2, 3): (2 / 4) / 2}, abs=1e-3)
    assert weakness.images == {1: 1, 2: 1, 3: 1, (2, 3): 1}


def test_doubt_is_weakness_where_all_agrees(by_colour):
    unsure = Segmenter(nn.Conv2d(3, 4, 1), "unsure", 4).eval()
    unsure.network.weight.data.zero_()
    unsure.network.bias.data = torch.tensor([0.0, 0.5, 0.0, 0.0])
    data = Prompted([(image([1, 1]), torch.tensor([[1, 1]]), (1,))])
    found = find_weakness(unsure, data, CLASSES).classes[1]
    surest = math.exp(0.5) / (math.exp(0.5) + 3)
    assert found == pytest.approx((1 - surest) / 2)
    assert find_weakness(by_colour, data, CLASSES).classes[1] == pytest.approx(0, abs=1e-3)


def test_what_is_weak_is_named_more_often_and_few_images_say_little():
    weakness = Weakness({1: 0.1, 2: 0.3}, {(1, 2): 0.2}, {1: 1000, 2: 1000, (1, 2): 3})
    emphasis = weakness.emphasis(1.0)
    assert emphasis.of(1) == pytest.approx(0.5, abs=0.01)
    assert emphasis.of(2) == pytest.approx(1.5, abs=0.01)
    assert emphasis.of_pair(2, 1) == 1.0
    assert weakness.emphasis(0.5).of(2) == pytest.approx(1.25, abs=0.01)
    assert weakness.emphasis(0.0) == EVEN
    few = Weakness({1: 0.1, 2: 0.3}, {}, {1: USUAL_IMAGES, 2: USUAL_IMAGES}).emphasis(1.0)
    assert few.of(2) == pytest.approx(1.25, abs=0.01)
    far = Weakness(dict.fromkeys(range(1, 20), 0.0) | {20: 1.0}, {}, dict.fromkeys(range(1, 21), 10**6)).emphasis(1.0)
    assert (far.of(1), far.of(20)) == (LEAST, MOST)


def test_it_is_the_same_after_a_file():
    weakness = Weakness({1: 0.1234, 2: 0.0, 3: 0.0}, {(1, 3): 0.5}, {1: 4, 2: 0, 3: 2, (1, 3): 2})
    values = json.loads(json.dumps(weakness.to_json(CLASSES)))
    assert Weakness.from_json(values, CLASSES) == weakness
    with pytest.raises(KeyError):
        Weakness.from_json({"classes": {}}, CLASSES)
