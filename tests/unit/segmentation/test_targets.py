import pytest
import torch
from torch import nn

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.targets import as_planes, attention_targets, kept_to, segmenter_targets, weighed

pytestmark = pytest.mark.slow


class Read(list):
    """One image whose prompt names class 2, and a reading that is sure of it everywhere."""

    def classes_of(self, index):
        return (2,)

    def attention(self, index):
        return torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(-1, *self[index][1].shape)


@pytest.fixture
def red():
    """A segmenter of three labels, whose probability of class 1 grows with red: 0.007, about a half, 0.993."""
    # It sees red as (red - 0.485) / 0.229: class 1 has the logit 10 x red, background 5, class 2 hardly any.
    network = nn.Conv2d(3, 3, 1)
    network.weight.data = torch.tensor([[0.0, 0, 0], [2.29, 0, 0], [0, 0, 0]])[:, :, None, None]
    network.bias.data = torch.tensor([5.0, 4.85, -20.0])
    return Segmenter(network, "red", 3).eval()


@pytest.fixture
def images():
    image = torch.zeros(3, 1, 3, dtype=torch.uint8)
    image[0] = torch.tensor([0, 128, 255])
    return Read([(image, torch.zeros(1, 3))])


def test_labels_by_hand(red, images):
    (label,) = segmenter_targets(red, images, TrainSettings(self_training_confidence=0.9))
    assert label.tolist() == [[0, 255, 1]]
    floats = [(images[0][0] / 255, torch.zeros(1, 3))]
    (label,) = segmenter_targets(red, floats, TrainSettings(self_training_confidence=0.0))
    assert label.tolist() == [[0, 1, 1]]


def test_a_class_that_the_prompt_does_not_name_is_not_found(red, images):
    settings = TrainSettings(self_training_confidence=0.9, self_training_classes="prompt")
    (label,) = segmenter_targets(red, images, settings)
    assert label.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("share", "labels"), [(0.2, [[0, 255, 1]]), (0.8, [[2, 2, 2]]), (1.0, [[2, 2, 2]])])
def test_the_attention_has_its_share(red, images, share, labels):
    settings = TrainSettings(self_training_confidence=0.7, self_training_attention=share)
    (label,) = segmenter_targets(red, images, settings)
    assert label.tolist() == labels


def test_pixels_are_weighed_by_how_far_the_first_is_ahead(red, images):
    probabilities = torch.tensor([[[0.5, 0.0]], [[0.5, 0.8]], [[0.0, 0.2]]])
    assert weighed(probabilities).tolist() == [[[0, 1]], [[0, 153]]]
    (target,) = segmenter_targets(red, images, TrainSettings(weigh_pixels=True))
    assert target[0].tolist() == [[0, 1, 1]]
    assert target[1, 0, 1] < 10 < 240 < target[1, 0, 0]
    (target,) = attention_targets(images)
    assert target.tolist() == [[[2, 2, 2]], [[255, 255, 255]]]
    assert [plane.shape for plane in as_planes(target)] == [(1, 3), (1, 3)]


def test_what_is_impossible_leaves_the_rest_its_share():
    probabilities = torch.tensor([0.2, 0.6, 0.2, 0.0])[:, None, None]
    torch.testing.assert_close(kept_to(probabilities, [2]).flatten(), torch.tensor([0.5, 0.0, 0.5, 0.0]))
    nothing = torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None, None]
    assert kept_to(nothing, [3]).flatten().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("changes", [{"self_training_classes": "prompt"}, {"self_training_attention": 0.5}])
def test_images_without_prompts(red, images, changes):
    with pytest.raises(ConfigError, match="got images and label maps alone; expected a dataset of this package"):
        next(segmenter_targets(red, list(images), TrainSettings(**changes)))
