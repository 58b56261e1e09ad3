"""The head of the published DeepLabV3, twice as wide as torchvision's."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPPConv, ASPPPooling

CHANNELS = 512
RATES = (12, 24, 36)
DROPOUT = 0.1


class PublishedHead(nn.Module):
    """Logits from features: pyramid pooling at rates 1, 12, 24, 36 and of the whole image, then a 3x3 bottleneck.

    Args:
        in_channels: channels of the features.
        num_classes: channels of the logits.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        wide = [ASPPConv(in_channels, CHANNELS, rate) for rate in RATES]
        branches = [_convolution(in_channels, 1), *wide, ASPPPooling(in_channels, CHANNELS)]
        self.branches = nn.ModuleList(branches)
        self.bottleneck = _convolution(len(branches) * CHANNELS, 3)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classifier = nn.Conv2d(CHANNELS, num_classes, 1)

    def forward(self, features: Float[Tensor, "batch in_channels h w"]) -> Float[Tensor, "batch classes h w"]:
        """Logits at the size of the features."""
        pyramid = torch.cat([branch(features) for branch in self.branches], dim=1)
        logits: Tensor = self.classifier(self.dropout(self.bottleneck(pyramid)))
        return logits


def _convolution(in_channels: int, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, CHANNELS, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(CHANNELS), nn.ReLU())
