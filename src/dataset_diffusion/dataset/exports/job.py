"""What a format is told: where to write, with which settings, and the samples one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.counts import pixels_of
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.schema import LabelMap, file_bytes, sample_name
from dataset_diffusion.disk.atomic import explained_write_errors
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.seeding import random_from

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")

COLUMNS = ("index", "seed", "prompt", "class_prompt", "classes", "image", "label")
"""The columns of a dataset that exports are made of."""


@dataclass(frozen=True, eq=False)
class Item:
    """One sample on its way into an export: its `COLUMNS`, its label map "h w", and the split it belongs to."""

    row: Mapping[str, Any]
    label: LabelMap
    split: Split

    @property
    def name(self) -> str:
        """What files about the sample are called."""
        return sample_name(self.row["index"])

    @property
    def image(self) -> bytes:
        """The image as a file of its own, PNG or JPEG."""
        return file_bytes(self.row["image"]["bytes"])

    @property
    def label_png(self) -> bytes:
        """The label map as a palette PNG."""
        return bytes(self.row["label"]["bytes"])

    @property
    def record(self) -> dict[str, Any]:
        """What is kept of every sample for the dataset card: its split and the pixels of each label id."""
        return {"split": self.split, "pixels": pixels_of(self.label)}


@dataclass(frozen=True)
class Job:
    """One export: its folder, how it is written, and what the dataset is made of."""

    folder: Path
    settings: ExportSettings
    manifest: DatasetManifest

    @property
    def class_set(self) -> ClassSet:
        """The classes that label ids stand for."""
        return self.manifest.class_set

    @property
    def image_suffix(self) -> str:
        """Of the images' files."""
        return ".jpg" if self.manifest.image_format == "jpeg" else ".png"

    def make_folders(self, *names: str) -> None:
        """Make folders of the export, as far as they are missing."""
        with explained_write_errors(self.folder):
            for name in names:
                (self.folder / name).mkdir(parents=True, exist_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the export.

        In place, since what a killed export leaves is written again: a file counts when its shard is done, and it has
        reached the disk by then.
        """
        path = self.folder / name
        with explained_write_errors(path):
            path.write_bytes(data)

    def write_lines(self, name: str, lines: Iterable[str]) -> None:
        """Write a text file of the export line by line."""
        path = self.folder / name
        with explained_write_errors(path), path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)

    def names(self, split: Split) -> Iterator[str]:
        """Names of the samples of a split, in order of index."""
        for shard in range(self.manifest.num_shards):
            indices = self.manifest.shard_range(shard)
            chosen = val_indices(indices, self.settings.val_fraction)
            yield from (sample_name(index) for index in indices if (index in chosen) == (split == "val"))


Records = Iterable[dict[str, Any]]
"""What was kept of every sample, in order of index; can be read more than once."""


def val_indices(indices: range, fraction: float) -> frozenset[int]:
    """The samples of a shard that belong to the split ``val``.

    Drawn within each shard, so that no order of the prompts can put all images of a class into one split; over all
    shards the split holds ``fraction`` of the samples, rounded.
    """
    first, last = (int(index * fraction + 0.5) for index in (indices.start, indices.stop))
    return frozenset(random_from(0, "val", indices.start).sample(indices, last - first))
