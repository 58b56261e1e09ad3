"""From attention to one heatmap per class: what a dataset stores and every label map is made from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dataset_diffusion.config import STORED_EXPONENTS
from dataset_diffusion.labelling.maps import float_maps
from dataset_diffusion.labelling.propagate import propagate_each
from dataset_diffusion.records import AttentionMaps, Heatmaps

_ROUNDING = 1e-6
"""A map whose range is below this fraction of its largest value is constant: what varies is float32 rounding."""


def normalize(heatmaps: Float[Tensor | np.ndarray, "*classes h w"]) -> Float32[Tensor, "*classes h w"]:
    """Min-max each map to [0, 1].

    Min-max lifts every class to 1 somewhere, even one that was never drawn; `Heatmaps` keep the range that is lost.

    Args:
        heatmaps: "*classes h w", any finite values; any leading axes are kept.

    Returns:
        float32 in [0, 1]. A constant map gives zeros, and so does one that is constant but for float32 rounding.

    Raises:
        ConfigError: there is no map.
        ModelError: a value is NaN or infinite.

    Example:
        >>> normalize(torch.tensor([[[1.0, 2.0, 3.0]], [[7.0, 7.0, 7.0]]]))
        tensor([[[0.0000, 0.5000, 1.0000]],
        <BLANKLINE>
                [[0.0000, 0.0000, 0.0000]]])
    """
    maps = float_maps(heatmaps, "heatmaps")
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    span = high - low
    constant = span <= _ROUNDING * torch.maximum(low.abs(), high.abs())
    return torch.where(constant, 0.0, (maps - low) / span)


def class_heatmaps(attention: AttentionMaps, exponents: Sequence[int] = STORED_EXPONENTS) -> Heatmaps:
    """The heatmaps of one image for several self-attention exponents, ascending; errors as for `propagate`.

    Attention is min-max normalised; the probabilities of a learned reading keep their values.
    """
    maps = propagate_each(attention.cross_attention, attention.self_attention, attention.self_shape, exponents)
    return as_heatmaps(maps, exponents, are_probabilities=attention.are_probabilities)


def as_heatmaps(
    maps: Float32[Tensor, "exponents classes h w"], exponents: Sequence[int], *, are_probabilities: bool
) -> Heatmaps:
    """What a dataset stores of the maps after each number of products; see `class_heatmaps`."""
    values = maps.clamp(0, 1) if are_probabilities else normalize(maps)
    return Heatmaps(
        exponents=tuple(exponents),
        values=values.half().cpu().numpy(),
        ranges=torch.stack([maps.amin(dim=(-2, -1)), maps.amax(dim=(-2, -1))], dim=-1).cpu().numpy(),
    )
