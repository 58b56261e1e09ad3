"""SegFormer (Xie et al. 2021) in six sizes, by transformers."""

from __future__ import annotations

from typing import NamedTuple, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerModel


class Size(NamedTuple):
    """Blocks and channels of each of the four stages, and channels of the decoder."""

    depths: tuple[int, int, int, int]
    hidden_sizes: tuple[int, int, int, int]
    decoder_hidden_size: int


SIZES = {
    "b0": Size((2, 2, 2, 2), (32, 64, 160, 256), 256),
    "b1": Size((2, 2, 2, 2), (64, 128, 320, 512), 256),
    "b2": Size((3, 4, 6, 3), (64, 128, 320, 512), 768),
    "b3": Size((3, 4, 18, 3), (64, 128, 320, 512), 768),
    "b4": Size((3, 8, 27, 3), (64, 128, 320, 512), 768),
    "b5": Size((3, 6, 40, 3), (64, 128, 320, 512), 768),
}
"""Table 7 of the paper."""


class SegFormer(nn.Module):
    """Logits at the size of the images, from a quarter of it.

    Args:
        num_classes: channels of the logits.
        size: a row of ``SIZES``.
        pretrained: start the encoder from ImageNet weights.

    Raises:
        OSError: the hub cannot be reached.
    """

    def __init__(self, num_classes: int, size: str, pretrained: bool) -> None:
        super().__init__()
        self.model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=num_classes, **SIZES[size]._asdict()))
        if pretrained:
            self.model.segformer = SegformerModel.from_pretrained(f"nvidia/mit-{size}")

    @property
    def encoder(self) -> nn.Module:
        """The part that ImageNet weights are for."""
        return cast(nn.Module, self.model.segformer)

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes h w"]:
        """Logits of normalised images."""
        return interpolate(self.model(images).logits, images.shape[-2:], mode="bilinear")
