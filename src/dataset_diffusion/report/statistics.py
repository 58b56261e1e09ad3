"""What the label maps of a dataset hold: images and pixels per class, and the share that nothing is learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64, Int64

from dataset_diffusion.dataset.schema import decode_label
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
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
    for classes, data in _classes_and_labels(store):
        pixels = np.bincount(decode_label(data).ravel(), minlength=256)
        prompted = np.bincount(np.asarray(classes, dtype=np.int64), minlength=256)
        counts += (prompted, pixels > 0, pixels)
        num_images += 1
    return LabelStatistics(num_images, *counts)


def _classes_and_labels(store: DatasetStore) -> Iterator[tuple[list[int], bytes]]:
    """Each sample's prompted class ids and encoded label map, without the images and heatmaps in between."""
    for shard in range(store.manifest.num_shards):
        path = store.shard_path(shard)
        if not path.exists():
            continue
        try:
            table = pq.read_table(path, columns=["classes", "label"], use_threads=False)
        except (OSError, ValueError, pa.ArrowException) as error:
            fix = f"delete {path} and run the command that made the dataset again"
            raise DatasetError(f"{path} is damaged", got=str(error), fix=fix) from error
        for classes, label in zip(table["classes"].to_pylist(), table["label"].to_pylist(), strict=True):
            yield classes, label["bytes"]
