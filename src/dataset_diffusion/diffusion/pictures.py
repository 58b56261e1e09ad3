"""Given pictures, of any size, as a diffusion model can look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.records import Prompt

Read = TypeVar("Read")


class Picture(NamedTuple):
    """A given picture of a size that fits the model, what it shows, and the seed of the noise that it is read with."""

    image: UInt8[np.ndarray, "h w 3"]
    prompt: Prompt
    seed: int


def fitting_size(height: int, width: int, native: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The size at which a model looks at a picture: about its own number of pixels, the picture's own proportions.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        native: (height, width) that the model was trained for.
        multiple: what both sides must be multiples of.
    """
    scale = (native[0] * native[1] / (height * width)) ** 0.5
    rows, columns = (max(1, round(side * scale / multiple)) * multiple for side in (height, width))
    return rows, columns


def resize_picture(image: UInt8[np.ndarray, "_ _ 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "_ _ 3"]:
    """A picture at another (height, width): averaged where it shrinks, bicubic where it grows."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def read_each(
    pictures: Iterable[Picture],
    read: Callable[[Sequence[UInt8[np.ndarray, "h w 3"]], Sequence[Prompt], Sequence[int]], list[Read]],
    batch_size: int,
) -> Iterator[Read]:
    """What ``read``, as `DiffusionModel.attend`, says of each picture, in order; neighbours of a size share a batch."""
    for _, group in groupby(pictures, key=lambda picture: picture.image.shape):
        while batch := list(islice(group, batch_size)):
            yield from read(*zip(*batch, strict=True))
