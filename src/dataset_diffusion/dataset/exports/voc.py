"""PASCAL VOC: ``VOCdevkit/VOC2012`` with JPEG images, palette PNGs and the lists of ``ImageSets/Segmentation``.

``labelmap.txt`` names the colours, for CVAT and Datumaro, which read a palette PNG by its colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from dataset_diffusion.dataset.exports.job import SPLITS, Item, Job, Records
from dataset_diffusion.dataset.schema import decode_image, encode_image, sample_name
from dataset_diffusion.prompts.class_sets import ClassSet

LOADING = """\
from torchvision.datasets import VOCSegmentation
dataset = VOCSegmentation(".", year="2012", image_set="train", download=False)
image, label = dataset[0]  # numpy.array(label) holds class ids, 255 as in VOC's own borders
"""

LIMITS: tuple[str, ...] = (
    "VOC images are JPEG: images that the dataset keeps as PNG are stored at quality 95, without subsampling.",
    "In `labelmap.txt` a colon in a class name is an underscore, since colons separate its fields.",
)

ROOT = "VOCdevkit/VOC2012"
IGNORED = "ignored"
"""The name of uncertain pixels, as Datumaro calls VOC's own borders."""


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    images, labels = f"{ROOT}/JPEGImages", f"{ROOT}/SegmentationClass"
    job.make_folders(images, labels)
    for item in items:
        stored = item.row["image"]["bytes"]
        image = stored if job.image_suffix == ".jpg" else encode_image(decode_image(stored), "jpeg")
        job.write(f"{images}/{item.name}.jpg", image)
        job.write(f"{labels}/{item.name}.png", item.label_png)
        yield item.record


def write_index(job: Job, records: Records) -> None:
    lists = f"{ROOT}/ImageSets/Segmentation"
    job.make_folders(lists)
    for split in SPLITS:
        job.write_lines(f"{lists}/{split}.txt", job.names(split))
    job.write_lines(f"{lists}/trainval.txt", map(sample_name, range(job.manifest.num_samples)))
    job.write_lines(f"{ROOT}/labelmap.txt", _label_map(job.class_set))


def _label_map(classes: ClassSet) -> Iterator[str]:
    """``name:red,green,blue:parts:actions`` a line; a line that begins with # is a comment."""
    named = [*enumerate(classes.label_names), (classes.ignore_index, IGNORED)]
    for label_id, name in named:
        color = ",".join(map(str, classes.palette[label_id]))
        yield f"{re.sub('^#|:', '_', name)}:{color}::"
