"""Which augmented pair is trained on when: draw j follows from (seed, j) alone, whoever loads it and in what order."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from fractions import Fraction
from itertools import count
from math import floor
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Integer, UInt8
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import to_dtype

from dataset_diffusion.config import Augmentation
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.seeding import random_from
from dataset_diffusion.segmentation.models import IMAGENET_MEAN, Colour
from dataset_diffusion.segmentation.transforms import augment, training_transform

Pair = tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "h w"]]


@runtime_checkable
class LabelledImages(Sized, Protocol):
    """Any map-style dataset of (image, label map) pairs.

    Images are "3 h w", RGB, uint8 in [0, 255] or floats in [0, 1]; label maps are "h w", integers: 0 background, 1..K
    classes, 255 ignored.
    """

    def __getitem__(self, index: int, /) -> Any: ...


class TrainingDraws(Dataset[Pair]):
    """The endless list of augmented training pairs: every epoch in an order of its own, every pair augmented anew.

    Args:
        data: what is drawn from, not empty.
        num_classes: ids of the label maps are below this (background included) or 255.
        crop_size: (height, width) of every pair, in pixels.
        mean: the colour, RGB in [0, 1], that the published augmentation pads with.

    Raises:
        DatasetError: a label map has other ids, or another size than its image (when that pair is drawn).
    """

    def __init__(
        self,
        data: LabelledImages,
        num_classes: int,
        crop_size: tuple[int, int],
        seed: int,
        *,
        augmentation: Augmentation = "light",
        mean: Colour = IMAGENET_MEAN,
    ) -> None:
        self._data = data
        self._num_classes = num_classes
        self._transform = training_transform(augmentation, crop_size, mean)
        self._seed = seed
        self._epoch: int | None = None
        self._order: list[int] = []

    def __getitem__(self, draw: int) -> Pair:
        epoch, position = divmod(draw, len(self._data))
        index = self._order_of(epoch)[position]
        image, label = self._data[index]
        _check_label(label, index, image.shape[-2:], self._num_classes)
        seed = random_from(self._seed, "segmenter draw", draw).getrandbits(63)
        return augment(to_dtype(image, torch.uint8, scale=True), label.to(torch.uint8), self._transform, seed)

    def _order_of(self, epoch: int) -> list[int]:
        if epoch != self._epoch:
            indices = list(range(len(self._data)))
            random_from(self._seed, "segmenter epoch", epoch).shuffle(indices)
            self._epoch, self._order = epoch, indices
        return self._order


class MixedDraws(Dataset[Pair]):
    """Two lists of draws dealt into one: of the first n draws, floor(n * ratio) are from the second list."""

    def __init__(self, first: Dataset[Pair], second: Dataset[Pair], ratio: float) -> None:
        self._first, self._second = first, second
        self._ratio = Fraction(ratio).limit_denominator(1000)

    def __getitem__(self, draw: int) -> Pair:
        before, after = floor(draw * self._ratio), floor((draw + 1) * self._ratio)
        return self._second[before] if after > before else self._first[draw - before]


class ConsecutiveBatches:
    """Batches of draw numbers from a given step on, without end: a resumed run sees what it would have seen.

    Args:
        batch_size: draws a step, over all processes; ``parts * num_processes`` divides it.
        start_step: the first step.
        parts: batches a step (gradient accumulation).
        process: which of ``num_processes`` this one is; the same draws are dealt out, whatever their number.
        num_processes: how many processes train together.
    """

    def __init__(
        self, batch_size: int, start_step: int = 0, *, parts: int = 1, process: int = 0, num_processes: int = 1
    ) -> None:
        self._size = batch_size // (parts * num_processes)
        self._first_part = start_step * parts
        self._process, self._num_processes = process, num_processes

    def __iter__(self) -> Iterator[list[int]]:
        for part in count(self._first_part):
            first = (part * self._num_processes + self._process) * self._size
            yield list(range(first, first + self._size))


def _check_label(label: Integer[Tensor, "h w"], index: int, image_size: torch.Size, num_classes: int) -> None:
    if label.shape != image_size:
        raise DatasetError(
            f"training image {index}: its label map has another size", got=list(label.shape), expected=list(image_size)
        )
    labelled = label[label != ClassSet.ignore_index]
    if labelled.numel() and not 0 <= labelled.min() <= labelled.max() < num_classes:
        raise DatasetError(
            f"training image {index}: its label map has ids outside the class set",
            got=f"{int(labelled.min())}..{int(labelled.max())}",
            expected=f"0..{num_classes - 1}, or {ClassSet.ignore_index} where uncertain",
        )
