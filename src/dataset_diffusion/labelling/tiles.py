"""Large photos, read whole and again in tiles of half their sides, so that what is small in them is seen too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from torch import Tensor

from dataset_diffusion.config import STORED_EXPONENTS
from dataset_diffusion.labelling.heatmaps import as_heatmaps
from dataset_diffusion.labelling.maps import resize
from dataset_diffusion.labelling.propagate import propagate_each
from dataset_diffusion.records import AttentionMaps, Heatmaps

LARGE = 2.0
"""A photo whose longer side is more than so many times the model's is read in tiles too."""

_STARTS = (0, 1, 2)
"""Where tiles begin, in quarters of a side: each overlaps its neighbours by half."""
NUM_TILES = len(_STARTS) ** 2


def is_large(size: tuple[int, int], native: tuple[int, int]) -> bool:
    """Whether a photo of a (height, width) is read in tiles too by a model of a ``native`` one, all in pixels."""
    return max(size) > LARGE * max(native)


def tiles_of(photo: UInt8[ndarray, "_ _ 3"]) -> Iterator[UInt8[ndarray, "_ _ 3"]]:
    """Its nine tiles of half its sides, row by row."""
    height, width, _ = photo.shape
    for row in _STARTS:
        for column in _STARTS:
            top, left = row * height // 4, column * width // 4
            yield photo[top : top + -(-height // 2), left : left + -(-width // 2)]


def merge_tiles(
    whole: AttentionMaps, tiles: Sequence[AttentionMaps], exponents: Sequence[int] = STORED_EXPONENTS
) -> Heatmaps:
    """The heatmaps of a photo that was read whole and in the tiles of `tiles_of`: the mean of both.

    Where tiles overlap, theirs is the mean of all that are there.

    Returns:
        Heatmaps of twice the cells a side that the whole has.
    """
    height, width = whole.self_shape
    size = (2 * height, 2 * width)
    total, count = torch.zeros(len(exponents), len(whole.cross_attention), *size), torch.zeros(size)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, len(_STARTS))
        top, left = row * height // 2, column * width // 2
        area = (slice(top, top + height), slice(left, left + width))
        total[..., *area] += _resize(_maps(tile, exponents), (height, width))
        count[area] += 1
    mean = (total / count + _resize(_maps(whole, exponents), size)) / 2
    return as_heatmaps(mean, exponents, are_probabilities=whole.are_probabilities)


def _maps(attention: AttentionMaps, exponents: Sequence[int]) -> Float32[Tensor, "exponents classes h w"]:
    return propagate_each(attention.cross_attention, attention.self_attention, attention.self_shape, exponents)


def _resize(maps: Float32[Tensor, "exponents classes h w"], size: tuple[int, int]) -> Float32[Tensor, "_ _ _ _"]:
    return resize(maps.flatten(0, 1), size).reshape(*maps.shape[:2], *size)
