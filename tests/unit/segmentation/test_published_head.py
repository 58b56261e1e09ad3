import pytest
import torch
from torch import nn

from dataset_diffusion.segmentation.published_head import PublishedHead

pytestmark = pytest.mark.slow


def test_it_has_the_published_size():
    with torch.device("meta"):
        head = PublishedHead(2048, 21)
    assert sum(weight.numel() for weight in head.parameters()) / 1e6 == pytest.approx(42.2, abs=0.05)


def test_its_branches_see_at_the_published_rates_and_meet_in_a_3x3_bottleneck():
    with torch.device("meta"):
        head = PublishedHead(2048, 21)
    convolutions = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.dilation[0] for layer in convolutions[:4]] == [1, 12, 24, 36]
    assert [layer.kernel_size for layer in convolutions] == [(1, 1), *[(3, 3)] * 3, (1, 1), (3, 3), (1, 1)]
    assert (convolutions[5].in_channels, convolutions[5].out_channels) == (2560, 512)
    assert head.dropout.p == 0.1


@torch.inference_mode()
def test_logits_have_the_size_of_the_features():
    assert PublishedHead(8, 3).eval()(torch.rand(2, 8, 5, 7)).shape == (2, 3, 5, 7)
