import math

import pytest
import torch
from torch import nn

from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.machine.devices import resolve_device
from dataset_diffusion.segmentation.models import Segmenter, build_segmenter


class Constant(nn.Module):
    """Logits that do not look at the image, from one head or two."""

    def __init__(self, logits, auxiliary=None):
        super().__init__()
        self.heads = {"out": logits} if auxiliary is None else {"out": logits, "aux": auxiliary}

    def forward(self, images):
        batch, _, height, width = images.shape
        heads = {
            name: torch.tensor(logits)[:, None, None].expand(batch, -1, height, width)
            for name, logits in self.heads.items()
        }
        return heads if "aux" in heads else heads["out"]


def test_images_are_normalised_inside():
    identity = nn.Conv2d(3, 3, 1, bias=False)
    identity.weight.data = torch.eye(3)[:, :, None, None]
    white = Segmenter(identity, "identity", 3)(torch.ones(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(white, torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]))


def test_a_network_may_have_a_normalisation_of_its_own():
    identity = nn.Conv2d(3, 3, 1, bias=False)
    identity.weight.data = torch.eye(3)[:, :, None, None]
    identity.mean, identity.std = (0.5, 0.25, 0.0), (0.5, 0.5, 2.0)
    white = Segmenter(identity, "identity", 3)(torch.ones(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(white, torch.tensor([1.0, 1.5, 0.5]))


def test_the_loss_is_the_mean_over_labelled_pixels():
    # Softmax of (ln 3, 0) is (3/4, 1/4); of the four pixels one is class 1, one is class 0 and two are ignored.
    segmenter = Segmenter(Constant([math.log(3), 0.0]), "constant", 2)
    labels = torch.tensor([[[0, 255], [1, 255]]])
    loss = segmenter.loss(torch.zeros(1, 3, 2, 2), labels)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_the_auxiliary_head_counts_for_two_fifths():
    segmenter = Segmenter(Constant([0.0, 0.0], auxiliary=[math.log(3), 0.0]), "constant", 2)
    loss = segmenter.loss(torch.zeros(1, 3, 1, 1), torch.zeros(1, 1, 1, dtype=torch.uint8))
    assert loss.item() == pytest.approx(math.log(2) + 0.4 * math.log(4 / 3))


def test_weights_and_forgiveness_by_hand():
    # Probabilities 3/4 of class 0 and 1/4 of class 1; q = 1 is the mean absolute error of the label's probability.
    segmenter, image = Segmenter(Constant([math.log(3), 0.0]), "constant", 2), torch.zeros(1, 3, 2, 2)
    labels, weights = torch.tensor([[[0, 255], [1, 1]]]), torch.tensor([[[255, 255], [51, 0]]])
    weighed = segmenter.loss(image, labels, weights)
    assert weighed.item() == pytest.approx((math.log(4 / 3) + 0.2 * math.log(4)) / 1.2)
    assert segmenter.loss(image, labels, robustness=1.0).item() == pytest.approx((1 / 4 + 3 / 4 + 3 / 4) / 3)
    half = segmenter.loss(image, labels, weights, robustness=0.5).item()
    assert half == pytest.approx((2 * (1 - 0.75**0.5) + 0.2 * 2 * (1 - 0.25**0.5)) / 1.2)
    everywhere = torch.full_like(weights, 255)
    assert segmenter.loss(image, labels, everywhere).item() == pytest.approx(segmenter.loss(image, labels).item())
    assert segmenter.loss(image, torch.full_like(labels, 255), weights).item() == 0


def test_an_unknown_name_lists_the_names():
    with pytest.raises(ModelError, match=r"got 'unet'; expected one of unet-resnet18, ") as error:
        build_segmenter("unet", 3)
    assert "\n" not in str(error.value)


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(None).type in {"cpu", "cuda", "mps", "xpu"}
    for name in ("gpu", "cuda:99", "meta"):
        with pytest.raises(ConfigError, match=f"no such device here; got '{name}'; expected one of cpu"):
            resolve_device(name)
