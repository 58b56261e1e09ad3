"""What the page sees of one sample: pictures as files, maps as plain bytes that a typed array takes as they are."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.schema import encode_image
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.records import Sample

_SAMPLES_IN_MEMORY = 48
"""Read lately, and so likely to be asked for again: those on the screen."""


class Views:
    """Samples of a dataset as the page asks for them; several threads may ask at once."""

    def __init__(self, store: DatasetStore) -> None:
        self.store = store
        self._lock = Lock()  # a Parquet file is read by one thread at a time
        self._samples: OrderedDict[int, Sample] = OrderedDict()

    def sample(self, index: int) -> Sample:
        """A sample; an IndexError or a DatasetError as the store raises them."""
        with self._lock:
            if index not in self._samples:
                self._samples[index] = self.store[index]
            self._samples.move_to_end(index)
            while len(self._samples) > _SAMPLES_IN_MEMORY:
                self._samples.popitem(last=False)
            return self._samples[index]

    def image(self, index: int, side: int | None = None) -> bytes:
        """The picture as PNG bytes, or a JPEG whose longer side is at most ``side`` pixels."""
        image = self.sample(index).image
        if side is None:
            return encode_image(image, "png")
        height, width = fitted(image.shape[:2], side)
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return encode_image(np.asarray(small, np.uint8), "jpeg")

    def label(self, index: int, side: int | None = None) -> UInt8[np.ndarray, "h w"]:
        """The stored label map: every pixel, or those that a small view shows."""
        return picked(self.sample(index).label, side)

    def evidence(self, index: int, settings: LabelSettings, side: int | None = None) -> bytes:
        """What label maps of any thresholds are made from: float32 values, "h w", then uint8 class ids, "h w".

        A pixel has its id where its value is at least the threshold, as a float32; see `labelling.assign`.

        Raises:
            DatasetError: the sample has no heatmaps.
            ConfigError: none of this exponent are stored.
        """
        from dataset_diffusion.labelling.assign import strongest_classes

        sample = self.sample(index)
        if sample.heatmaps is None:
            raise DatasetError("there are no heatmaps to label from", got=f"sample {index}")
        size = (sample.image.shape[0], sample.image.shape[1])
        ids, highest = strongest_classes(sample.heatmaps, sample.prompt.classes, size, settings, image=sample.image)
        return picked(highest, side).tobytes() + picked(ids, side).tobytes()

    def heatmaps(self, index: int, exponent: int) -> UInt8[np.ndarray, "classes h w"]:
        """The stored heatmaps of an exponent to look at, 0..255; no classes where there are none."""
        heatmaps = self.sample(index).heatmaps
        if heatmaps is None or exponent not in heatmaps.exponents:
            return np.zeros((0, 1, 1), np.uint8)
        values = heatmaps.values[heatmaps.exponents.index(exponent)].astype(np.float32)
        return np.asarray((values.clip(0, 1) * 255).round(), np.uint8)


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) with these proportions whose longer side is at most ``side``.

    Example:
        >>> fitted((512, 768), 160)
        (107, 160)
    """
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def picked(maps: Shaped[np.ndarray, "h w"], side: int | None) -> Shaped[np.ndarray, "_ _"]:
    """The pixels of a map in the middle of those of a smaller view: none is mixed from others."""
    if side is None:
        return maps
    height, width = fitted((maps.shape[0], maps.shape[1]), side)
    rows = (np.arange(height) * 2 + 1) * maps.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * maps.shape[1] // (2 * width)
    return np.ascontiguousarray(maps[rows[:, None], columns])
