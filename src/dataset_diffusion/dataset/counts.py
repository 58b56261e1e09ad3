"""What the label maps of a dataset hold: images and pixels per class, and the share that nothing is learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float64, Int64

from dataset_diffusion.dataset.schema import decode_label
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.prompts.class_sets import ClassSet


@dataclass(frozen=True, eq=False)
class LabelStatistics:
    """Counts over the label maps of a dataset, by label id.

    Attributes:
        num_images: images counted.
        prompted: images whose prompt names the class.
        labelled: images in whose label map the id occurs.
        pixels: pixels of the id.
    """

    num_images: int
    prompted: Int64[np.ndarray, " 256"]
    labelled: Int64[np.ndarray, " 256"]
    pixels: Int64[np.ndarray, " 256"]

    @property
    def shares(self) -> Float64[np.ndarray, " 256"]:
        """Share of all pixels, by id."""
        return np.asarray(self.pixels / max(1, self.pixels.sum()), dtype=np.float64)

    @property
    def classes(self) -> float:
        """Share of the pixels that belong to a class, in [0, 1]."""
        return float(self.shares[1 : ClassSet.ignore_index].sum())

    @property
    def uncertain(self) -> float:
        """Share of the pixels that are ignored, in [0, 1]."""
        return float(self.shares[ClassSet.ignore_index])


def count_labels(store: DatasetStore) -> LabelStatistics:
    """Count over the shards that are there.

    Raises:
        DatasetError: a shard is damaged.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    num_images = 0
    missing = set(store.missing_shards())
    shards = (store.read_shard(n, ("classes", "label")) for n in range(store.manifest.num_shards) if n not in missing)
    for row in chain.from_iterable(shards):
        pixels = np.bincount(decode_label(row["label"]["bytes"]).ravel(), minlength=256)
        prompted = np.bincount(np.asarray(row["classes"], dtype=np.int64), minlength=256)
        counts += (prompted, pixels > 0, pixels)
        num_images += 1
    return LabelStatistics(num_images, *counts)
