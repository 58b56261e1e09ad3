"""What label maps hold: images and pixels per class, and the share that nothing is learnt from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Int64

from dataset_diffusion.dataset.schema import LabelMap
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.prompts.class_sets import ClassSet

_zeros = partial(np.zeros, 256, np.int64)


@dataclass(eq=False)
class LabelCounts:
    """How often each label id occurs, counted one label map at a time.

    Attributes:
        num_images: label maps counted.
        prompted: images whose prompt names the class, by label id.
        labelled: label maps that hold the id, by label id.
        pixels: pixels of the id, by label id.
    """

    num_images: int = 0
    prompted: Int64[np.ndarray, " 256"] = field(default_factory=_zeros)
    labelled: Int64[np.ndarray, " 256"] = field(default_factory=_zeros)
    pixels: Int64[np.ndarray, " 256"] = field(default_factory=_zeros)

    def add(self, pixels: Mapping[int, int], classes: Collection[int] = ()) -> None:
        """Count one label map by its `pixels_of`, and the class ids that its prompt names."""
        ids = list(pixels)
        self.num_images += 1
        self.prompted[list(classes)] += 1
        self.labelled[ids] += 1
        self.pixels[ids] += list(pixels.values())

    def share(self, label_id: int) -> float:
        """Share of all pixels that have the id, in [0, 1]."""
        return float(self.pixels[label_id] / max(1, self.pixels.sum()))

    @property
    def classes(self) -> float:
        """Share of the pixels that belong to a class, in [0, 1]."""
        return float(self.pixels[1 : ClassSet.ignore_index].sum() / max(1, self.pixels.sum()))

    @property
    def uncertain(self) -> float:
        """Share of the pixels that are ignored, in [0, 1]."""
        return self.share(ClassSet.ignore_index)


def pixels_of(label: LabelMap) -> dict[int, int]:
    """How many pixels each label id in a label map has."""
    counts = np.bincount(label.ravel())
    return {int(label_id): int(counts[label_id]) for label_id in np.flatnonzero(counts)}


def count_labels(*stores: DatasetStore) -> LabelCounts:
    """Count over the shards of datasets that are there."""
    counts = LabelCounts()
    for store in stores:
        for shard in store.present_shards():
            for row in store.read_shard(shard, ("index", "classes", "label")):
                counts.add(pixels_of(store.decode_label(row["index"], row["label"]["bytes"])), row["classes"])
    return counts
