"""SegFormer (Xie et al. 2021) in six sizes, by transformers."""

from __future__ import annotations

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerModel

from dataset_diffusion.machine.hub import SAFE

SIZES = {
    "b0": ((2, 2, 2, 2), (32, 64, 160, 256), 256),
    "b1": ((2, 2, 2, 2), (64, 128, 320, 512), 256),
    "b2": ((3, 4, 6, 3), (64, 128, 320, 512), 768),
    "b3": ((3, 4, 18, 3), (64, 128, 320, 512), 768),
    "b4": ((3, 8, 27, 3), (64, 128, 320, 512), 768),
    "b5": ((3, 6, 40, 3), (64, 128, 320, 512), 768),
}
"""Blocks and channels of each of the four stages, and channels of the decoder (table 7 of the paper)."""


class SegFormer(nn.Module):
    """Logits at the size of the images, from a quarter of it."""

    def __init__(self, num_classes: int, size: str, pretrained: bool) -> None:
        super().__init__()
        depths, channels, decoder = SIZES[size]
        config = SegformerConfig(
            num_labels=num_classes, depths=depths, hidden_sizes=channels, decoder_hidden_size=decoder
        )
        self.model = SegformerForSemanticSegmentation(config)
        if pretrained:
            self.model.segformer = SegformerModel.from_pretrained(f"nvidia/mit-{size}", **SAFE)

    @property
    def encoder(self) -> nn.Module:
        """The part that ImageNet weights are for."""
        return cast(nn.Module, self.model.segformer)

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes h w"]:
        """Logits of normalised images."""
        return interpolate(self.model(images).logits, images.shape[-2:], mode="bilinear")
