"""Label maps from a trained segmenter: images of any size, whole or by windows, with test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice, product
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from dataset_diffusion.config import EvaluateSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.segmentation.models import Segmenter


@dataclass(frozen=True)
class Views:
    """The views of an image that a prediction is averaged over (test-time augmentation).

    Attributes:
        scales: the image is seen at each of these sizes.
        flip: and mirrored, too.
        short_side: the shorter side that scale 1.0 stands for, in pixels; None keeps the image's own size.
        window: the segmenter sees no more than this square of a view at once, in pixels; None shows it the whole view.
        stride: from one window to the next, in pixels; None is two thirds of the window.

    Raises:
        ConfigError: no scale, a size that is not positive, or a stride that leaves gaps between windows.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    short_side: int | None = None
    window: int | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        sizes = [size for size in (self.short_side, self.window, self.stride) if size is not None]
        if not self.scales or min(*self.scales, *sizes, 1) <= 0:
            raise ConfigError("no such view of an image", got=repr(self), expected="scales and sizes above 0")
        if self.stride is not None and self.stride > (self.window or 0):
            raise ConfigError("no such sliding window", got=repr(self), expected="a stride of at most the window")

    @classmethod
    def from_settings(cls, settings: EvaluateSettings) -> Views:
        """The views that an evaluation asks for."""
        return cls(
            scales=settings.scales or (PUBLISHED_SCALES if settings.tta else WHOLE_IMAGE.scales),
            flip=settings.tta,
            short_side=settings.short_side,
            window=settings.sliding_window,
            stride=settings.stride,
        )


WHOLE_IMAGE = Views()
PUBLISHED_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Of the paper's test-time augmentation, which mirrors each; 1.0 stands for the image's own size."""

ReadProbabilities = Callable[[Float[Tensor, "batch classes h w"]], UInt8[Tensor, "batch h w"]]
"""What to make of class probabilities."""


def most_likely(probabilities: Float[Tensor, "batch classes h w"]) -> UInt8[Tensor, "batch h w"]:
    """Class ids, 0 background, 1..K."""
    return probabilities.argmax(dim=1).to(torch.uint8)


def confident(
    probabilities: Float[Tensor, "batch classes h w"], confidence: float, ignore_index: int = 255
) -> UInt8[Tensor, "batch h w"]:
    """Class ids; ``ignore_index`` where the most probable class is below ``confidence``."""
    probability, ids = probabilities.max(dim=1)
    return ids.masked_fill(probability < confidence, ignore_index).to(torch.uint8)


def foreground(probabilities: Float[Tensor, "batch classes h w"]) -> UInt8[Tensor, "batch h w"]:
    """How likely a pixel is of any class at all, 0..255."""
    return ((1 - probabilities[:, 0]) * 255).round().to(torch.uint8)


def predict(
    segmenter: Segmenter,
    images: Iterable[UInt8[np.ndarray, "_ _ 3"]],
    views: Views = WHOLE_IMAGE,
    batch_size: int = 16,
    read: ReadProbabilities = most_likely,
) -> Iterator[UInt8[np.ndarray, "_ _"]]:
    """What ``read`` makes of each image's class probabilities, at the image's own size, in order and as they come.

    Args:
        segmenter: in evaluation mode, on any device.
        images: RGB in [0, 255], each of any size; neighbours of one size share a batch of up to ``batch_size``.
        views: what the probabilities are averaged over.
        read: by default gives class ids.
    """
    for probabilities in _batches(segmenter, images, views, batch_size):
        yield from read(probabilities).cpu().numpy()


def predict_probabilities(
    segmenter: Segmenter,
    images: Iterable[UInt8[np.ndarray, "_ _ 3"]],
    views: Views = WHOLE_IMAGE,
    batch_size: int = 16,
) -> Iterator[Float[Tensor, "classes _ _"]]:
    """Each image's class probabilities on the CPU, at the image's own size; the arguments are those of `predict`."""
    for probabilities in _batches(segmenter, images, views, batch_size):
        yield from probabilities.cpu()


def _batches(
    segmenter: Segmenter, images: Iterable[np.ndarray], views: Views, batch_size: int
) -> Iterator[Float[Tensor, "batch classes _ _"]]:
    device = next(segmenter.parameters()).device
    for _, group in groupby(images, key=lambda image: image.shape):
        while batch := list(islice(group, batch_size)):
            pixels = torch.from_numpy(np.stack(batch)).to(device).permute(0, 3, 1, 2).float() / 255
            yield class_probabilities(segmenter, pixels, views)


@torch.inference_mode()
def class_probabilities(
    segmenter: Segmenter, images: Float[Tensor, "batch 3 h w"], views: Views = WHOLE_IMAGE
) -> Float[Tensor, "batch classes h w"]:
    """Class probabilities, which sum to 1, of RGB in [0, 1] on the segmenter's device: the mean over the views."""
    count = len(views.scales) * (1 + views.flip)
    return sum(_view_probabilities(segmenter, images, views), start=torch.zeros((), device=images.device)) / count


def _view_probabilities(segmenter: Segmenter, images: Tensor, views: Views) -> Iterator[Tensor]:
    height, width = images.shape[-2:]
    unit = 1.0 if views.short_side is None else views.short_side / min(height, width)
    for scale in views.scales:
        seen = _resized(images, (max(1, round(height * unit * scale)), max(1, round(width * unit * scale))))
        yield _resized(_logits(segmenter, seen, views), (height, width)).softmax(dim=1)
        if views.flip:
            yield _resized(_logits(segmenter, seen.flip(-1), views).flip(-1), (height, width)).softmax(dim=1)


def _logits(segmenter: Segmenter, images: Tensor, views: Views) -> Tensor:
    """Logits of images seen whole, or the mean over the windows that see a pixel."""
    window, (height, width) = views.window, images.shape[-2:]
    if window is None or max(height, width) <= window:
        return cast(Tensor, segmenter(images))
    stride = views.stride or max(1, window * 2 // 3)
    total = images.new_zeros((len(images), segmenter.num_classes, height, width))
    seen = images.new_zeros((height, width))
    for top, left in product(_starts(height, window, stride), _starts(width, window, stride)):
        rows, columns = slice(top, top + window), slice(left, left + window)
        total[..., rows, columns] += segmenter(images[..., rows, columns])
        seen[rows, columns] += 1
    return total / seen


def _starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one side; the last ends with the image."""
    last = max(side - window, 0)
    return [*range(0, last, stride), last]


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if tuple(maps.shape[-2:]) == size else interpolate(maps, size, mode="bilinear", antialias=True)
