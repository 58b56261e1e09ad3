from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from dataset_diffusion.errors import ModelError
from dataset_diffusion.segmentation import efficientnet
from dataset_diffusion.segmentation.models import build_segmenter

pytestmark = pytest.mark.slow

FILE = (
    Path(find_spec(efficientnet.PACKAGE).submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"
)


def test_every_weight_of_the_encoder_is_the_packages(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    encoder = build_segmenter("unet-efficientnet-lite0", 3, pretrained=True).encoder.state_dict()
    theirs = torch.load(FILE, weights_only=True)
    # In the order of the file; its last tensors are the classifier's.
    for (name, weight), (other, expected) in zip(encoder.items(), theirs.items(), strict=False):
        assert name.rpartition(".")[2] == other.rpartition(".")[2]
        assert torch.equal(weight, expected), name


def test_without_weights_it_is_random():
    drawn = [build_segmenter("unet-efficientnet-lite0", 3).encoder.conv_stem.weight for _ in range(2)]
    assert not torch.equal(*drawn)


def test_its_images_are_normalised_by_a_half():
    segmenter = build_segmenter("unet-efficientnet-lite0", 3)
    assert segmenter.mean == segmenter.std == (0.5, 0.5, 0.5)
    seen = []
    segmenter.network.register_forward_pre_hook(lambda network, args: seen.append(args[0]))
    segmenter.eval()(torch.full((1, 3, 32, 32), 0.75))
    assert (seen[0] == 0.5).all()


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModelError, match=r"got no no_such_package.*dataset-diffusion\[photos\].*--no-pretrained"):
        build_segmenter("unet-efficientnet-lite0", 3, pretrained=True)
