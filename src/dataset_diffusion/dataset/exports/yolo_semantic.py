"""Ultralytics' semantic task: ``images/`` and ``masks/`` by split, and ``data.yaml``.

Masks are grey PNGs whose levels are class ids; 255 is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dataset_diffusion.dataset.exports.job import SPLITS, Item, Job, Records
from dataset_diffusion.dataset.exports.yolo import write_description
from dataset_diffusion.dataset.schema import encode_grey

LOADING = """\
from PIL import Image
image = Image.open("images/train/00000000{suffix}")
mask = Image.open("masks/train/00000000.png")  # numpy.array(mask) holds class ids, 255 is ignored
"""

LIMITS: tuple[str, ...] = ()


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    job.make_folders(*(f"{kind}/{split}" for kind in ("images", "masks") for split in SPLITS))
    for item in items:
        job.write(f"images/{item.split}/{item.name}{job.image_suffix}", item.image)
        job.write(f"masks/{item.split}/{item.name}.png", encode_grey(item.label))
        yield item.record


def write_index(job: Job, records: Records) -> None:
    """Write ``data.yaml``; its names begin with the background, which is a class like any other in this task."""
    write_description(job, job.class_set.label_names, masks_dir="masks")
