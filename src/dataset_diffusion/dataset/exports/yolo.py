"""YOLO segmentation: ``images/`` and ``labels/`` by split, one polygon a line, and ``data.yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import yaml
from jaxtyping import UInt8

from dataset_diffusion.dataset.exports.job import SPLITS, Item, Job, Records
from dataset_diffusion.dataset.exports.polygons import Ring, center_polygons

LOADING = """\
import supervision as sv
dataset = sv.DetectionDataset.from_yolo("images/train", "labels/train", "data.yaml", force_masks=True)
path, image, objects = dataset[0]  # objects.mask, objects.class_id: 0 is the first class, not the background
"""

LIMITS: tuple[str, ...] = (
    "YOLO knows no ignored pixels: uncertain ones are background here.",
    "An object is an 8-connected component of a class: objects of one class that touch are one.",
    "Objects of one pixel or one line are triangles inside their pixels; trainers may drop them as too small.",
)


_TRIANGLE = [[0.1, 0.1], [0.4, 0.1], [0.25, 0.4]]
"""(x, y) inside a pixel: below a half, so that rounding gives the pixel too."""


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    """Write the samples of a shard; an image without objects has an empty label file."""
    job.make_folders(*(f"{kind}/{split}" for kind in ("images", "labels") for split in SPLITS))
    for item in items:
        job.write(f"images/{item.split}/{item.name}{job.image_suffix}", item.image)
        job.write(f"labels/{item.split}/{item.name}.txt", label_lines(item.label, job.class_set.ids).encode())
        yield item.record


def write_index(job: Job, records: Records) -> None:
    """Write ``data.yaml``, whose names begin with the first class."""
    write_description(job, job.class_set.names)


def write_description(job: Job, names: Iterable[str], **more: str) -> None:
    """Write ``data.yaml``: the folders, relative to itself, and the names, by ids from 0."""
    values = {
        "train": "images/train",
        # Trainers insist on it.
        "val": "images/val" if any(job.names("val")) else "images/train",
        **more,
        "names": dict(enumerate(names)),
    }
    job.write("data.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode())


def label_lines(label: UInt8[np.ndarray, "h w"], class_ids: Iterable[int]) -> str:
    """One line per object: class id from 0, then x and y of each vertex, as fractions of width and height."""
    lines = [
        f"{class_id - 1} {_fractions(ring, label.shape)}\n"
        for class_id in class_ids
        if (label == class_id).any()
        for ring in center_polygons((label == class_id).astype(np.uint8))
    ]
    return "".join(lines)


def _fractions(ring: Ring, size: tuple[int, int]) -> str:
    """Vertices as readers want them: three at least, no box of width zero, and pixels that both rounding and cutting
    off give back.
    """
    height, width = size
    inside: list[float] | list[list[float]] = [0.25, 0.25]
    if len(ring) < 3:  # one pixel or one line
        ring, inside = np.pad(ring, ((0, 3 - len(ring)), (0, 0)), mode="edge"), _TRIANGLE
    return " ".join(f"{value:.6f}" for value in ((ring + inside) / (width, height)).ravel())
