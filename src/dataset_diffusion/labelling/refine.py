"""Boundary refinement: let each pixel take the heatmaps of the neighbours that have its colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from dataset_diffusion.labelling.heatmaps import normalize
from dataset_diffusion.labelling.maps import resize

DILATIONS = (1, 2, 4, 8, 12, 24)
ITERATIONS = 10
TEMPERATURE = 0.1
"""The published settings: distances in pixels of a pixel's neighbours, rounds of averaging, and how much colours must
differ, in local standard deviations, for a neighbour to lose most of its say."""

_DIRECTIONS = [step for step in product((-1, 0, 1), repeat=2) if step != (0, 0)]
Offsets = Sequence[tuple[int, int]]
"""Where the neighbours of a pixel are: rows and columns from it."""

WORKING_SIDE = 192
"""Pixels of the longer side of the picture that `refine_small` works on."""

_SMALLEST_SPREAD = 1e-8


def refine_heatmaps(
    heatmaps: Float32[Tensor, "classes h w"],
    image: UInt8[np.ndarray, "h w 3"],
    dilations: Sequence[int] = DILATIONS,
) -> Float32[Tensor, "classes h w"]:
    """Draw the borders of the heatmaps to those of the image: pixel-adaptive mask refinement (PAMR).

    Each round replaces a pixel's value m(i) by ``sum_j a(i, j) m(j)`` over the 48 neighbours j at the distances
    `DILATIONS`, where a is the softmax over j of ``-|x(i) - x(j)| / (TEMPERATURE * s(i))``, averaged over the colour
    channels of the image x; s(i) is the standard deviation of the colour of pixel i and its neighbours.

    Source: Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020, section 3.3.

    Args:
        heatmaps: "classes h w" at the size of the image.
        image: uint8 RGB in [0, 255], "h w 3".
        dilations: distances of a pixel's neighbours in pixels, ascending.

    Returns:
        float32 in [0, 1], "classes h w": each map min-max normalised again, since averaging flattens every peak and a
        threshold should keep its meaning.
    """
    offsets = [(dilation * dy, dilation * dx) for dilation in dilations for dy, dx in _DIRECTIONS]
    weights = _affinity(torch.from_numpy(image).permute(2, 0, 1).float(), offsets)
    for _ in range(ITERATIONS):
        refined = torch.zeros_like(heatmaps)
        for weight, neighbour in zip(weights, _neighbours(heatmaps, offsets), strict=True):
            refined += weight * neighbour
        heatmaps = refined
    return normalize(heatmaps)


def refine_small(
    heatmaps: Float32[Tensor, "classes _ _"], image: UInt8[np.ndarray, "h w 3"], side: int = WORKING_SIDE
) -> Float32[Tensor, "classes _ _"]:
    """`refine_heatmaps` on a smaller copy of a large picture: many times faster, and the same for a small picture.

    Args:
        heatmaps: of any size.
        image: uint8 RGB in [0, 255], "h w 3".
        side: pixels of the longer side of the copy. Distances shrink with the picture.

    Returns:
        float32 in [0, 1], at the size of the copy.
    """
    scale = min(1.0, side / max(image.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    small = image if scale == 1.0 else cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    dilations = sorted({max(1, round(dilation * scale)) for dilation in DILATIONS})
    return refine_heatmaps(resize(heatmaps, (height, width)), np.asarray(small, np.uint8), dilations)


def _affinity(pixels: Float32[Tensor, "3 h w"], offsets: Offsets) -> Float32[Tensor, "neighbours h w"]:
    """How much each neighbour of a pixel has to say about it; the neighbours' shares sum to 1."""
    scale = TEMPERATURE * _spread(pixels, offsets) + _SMALLEST_SPREAD
    distance = torch.stack([((near - pixels).abs() / scale).mean(dim=0) for near in _neighbours(pixels, offsets)])
    # Not softmax(dim=0): its last digits depend on the number of threads, and label maps must not.
    shares = (distance.amin(dim=0) - distance).exp()
    return shares / shares.sum(dim=0)


def _spread(pixels: Float32[Tensor, "3 h w"], offsets: Offsets) -> Float32[Tensor, "3 h w"]:
    """Standard deviation of each pixel and its neighbours, per channel. Sums of whole numbers, so without rounding."""
    total = pixels.double()
    squares = total**2
    for near in _neighbours(pixels.double(), offsets):
        total = total + near
        squares = squares + near**2
    count = 1 + len(offsets)
    return ((count * squares - total**2).sqrt() / count).float()


def _neighbours(maps: Float[Tensor, "channels h w"], offsets: Offsets) -> Iterator[Float[Tensor, "channels h w"]]:
    """The maps as each of the neighbours sees them, in the order of the offsets; beyond the edge, the edge's pixel."""
    margin, (height, width) = max(map(max, offsets)), maps.shape[1:]
    padded = functional.pad(maps[None], (margin,) * 4, mode="replicate")[0]
    for y, x in offsets:
        yield padded[:, margin + y : margin + y + height, margin + x : margin + x + width]
