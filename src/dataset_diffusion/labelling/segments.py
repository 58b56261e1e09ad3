"""Borders from a segment-anything model: each pixel takes the heatmaps of the segment that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from PIL import Image
from torch import Tensor

from dataset_diffusion.errors import ModelError, first_line
from dataset_diffusion.labelling.maps import resize
from dataset_diffusion.machine.devices import inference_dtype, resolve_device
from dataset_diffusion.machine.hub import NO_CODE, SAFE, load_pretrained

WEIGHTS = {"sam2": "facebook/sam2.1-hiera-small", "sam3": "facebook/sam3"}
"""The weights of each kind where none are named; those of SAM 3 are given after its licence was agreed to."""


POINTS = 32
"""Points a side of the grid that segments are looked for at, as published."""


def refine_by_segments(
    heatmaps: Float32[Tensor, "classes _ _"],
    image: UInt8[np.ndarray, "h w 3"],
    kind: str,
    weights: str | None = None,
    points: int = POINTS,
) -> Float32[Tensor, "classes h w"]:
    """Give every pixel the mean heatmaps of the smallest segment that holds it; a pixel of none keeps its own.

    Args:
        heatmaps: of any size, in [0, 1].
        image: uint8 RGB, "h w 3".
        kind: ``sam2`` or ``sam3``.
        weights: a hub id or folder; None takes `WEIGHTS`.
        points: a side of the grid of points that segments are looked for at.

    Returns:
        float32 at the size of the image. A mean stays in the range of its map, so thresholds keep their meaning.

    Raises:
        ModelError: the weights cannot be loaded, or are not of this kind.

    Source: Kirillov et al., "Segment Anything", ICCV 2023, appendix B (how a grid of points becomes segments).
    """
    own = resize(heatmaps, image.shape[:2])
    refined = own.clone()
    found = find_segments(image, kind, weights, points)
    for segment in sorted(found, key=lambda one: int(one.sum()), reverse=True):
        refined[:, segment] = own[:, segment].mean(dim=-1, keepdim=True)
    return refined


def find_segments(
    image: UInt8[np.ndarray, "h w 3"], kind: str, weights: str | None = None, points: int = POINTS
) -> Iterator[Bool[Tensor, "h w"]]:
    """The segments that a model finds in an image; the arguments and errors are those of `refine_by_segments`."""
    found = _generator(kind, weights or WEIGHTS[kind])(Image.fromarray(image), points_per_crop=points)
    return (torch.as_tensor(np.asarray(mask), dtype=torch.bool) for mask in found["masks"])


@lru_cache(maxsize=1)
def _generator(kind: str, weights: str) -> Any:
    from transformers import AutoImageProcessor, AutoModelForMaskGeneration, pipeline

    device = resolve_device(None)
    processor, model = load_pretrained(
        weights,
        lambda: (
            AutoImageProcessor.from_pretrained(weights, **NO_CODE),
            AutoModelForMaskGeneration.from_pretrained(weights, dtype=inference_dtype(device), **SAFE),
        ),
        explain=lambda error: ModelError(
            "the folder holds no segment-anything model",
            got=f"{weights}: {first_line(error)}",
            expected=f"weights of {kind} with their image processor",
        ),
        missing="cannot get the segment-anything model",
        expected="a local folder, or a repository of a hub that can be reached, whose licence was agreed to",
        folder=kind,
        then=f"then pass --segments {kind}",
    )
    if not model.config.model_type.startswith(kind):
        raise ModelError(f"not weights of {kind}", got=f"{weights}, a {model.config.model_type}")
    return pipeline("mask-generation", model=model, image_processor=processor, device=device)
