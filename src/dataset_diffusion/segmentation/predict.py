"""Label maps from a trained segmenter: whole images of any size, with optional test-time augmentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2.functional import hflip, resize

from dataset_diffusion.errors import ConfigError
from dataset_diffusion.segmentation.models import Segmenter


@dataclass(frozen=True)
class Views:
    """The views of an image that a prediction is averaged over (test-time augmentation).

    Attributes:
        scales: the image is seen at each of these sizes.
        flip: and mirrored, too.
        short_side: the shorter side that scale 1.0 stands for, in pixels; None keeps the image's own size.

    Raises:
        ConfigError: no scale, or a size that is not positive.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    short_side: int | None = None

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0 or (self.short_side is not None and self.short_side <= 0):
            raise ConfigError("no such view of an image", got=repr(self), expected="scales and a short side above 0")


WHOLE_IMAGE = Views()
PUBLISHED_VIEWS = Views(scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flip=True, short_side=512)
"""The paper's test-time augmentation."""


def predict(
    segmenter: Segmenter,
    images: Iterable[UInt8[np.ndarray, "_ _ 3"]],
    views: Views = WHOLE_IMAGE,
    batch_size: int = 16,
) -> Iterator[UInt8[np.ndarray, "_ _"]]:
    """Label maps, one an image, in order and as they come.

    Args:
        segmenter: in evaluation mode, on any device.
        images: RGB in [0, 255], each of any size; neighbours of one size share a batch.
        views: what each prediction is averaged over.
        batch_size: images at once.

    Yields:
        Class ids, 0 background, 1..K, at the image's own size.
    """
    device = next(segmenter.parameters()).device
    for _, group in groupby(images, key=lambda image: image.shape):
        while batch := list(islice(group, batch_size)):
            pixels = torch.from_numpy(np.stack(batch)).to(device).permute(0, 3, 1, 2).float() / 255
            yield from class_probabilities(segmenter, pixels, views).argmax(dim=1).to(torch.uint8).cpu().numpy()


@torch.inference_mode()
def class_probabilities(
    segmenter: Segmenter, images: Float[Tensor, "batch 3 h w"], views: Views = WHOLE_IMAGE
) -> Float[Tensor, "batch classes h w"]:
    """Class probabilities, the mean over the views.

    Args:
        segmenter: in evaluation mode.
        images: RGB in [0, 1], on the segmenter's device.
        views: what to average over.

    Returns:
        Probabilities that sum to 1 over the classes, at the images' size.
    """
    count = len(views.scales) * (1 + views.flip)
    return sum(_view_probabilities(segmenter, images, views), start=torch.zeros((), device=images.device)) / count


def _view_probabilities(segmenter: Segmenter, images: Tensor, views: Views) -> Iterator[Tensor]:
    height, width = images.shape[-2:]
    unit = 1.0 if views.short_side is None else views.short_side / min(height, width)
    for scale in views.scales:
        seen = _resized(images, (max(1, round(height * unit * scale)), max(1, round(width * unit * scale))))
        yield _resized(segmenter(seen), (height, width)).softmax(dim=1)
        if views.flip:
            yield _resized(hflip(segmenter(hflip(seen))), (height, width)).softmax(dim=1)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if tuple(maps.shape[-2:]) == size else cast(Tensor, resize(maps, list(size), antialias=True))
