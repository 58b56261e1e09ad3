"""CVAT: ``images/``, ``labels.json`` for a new task, and ``annotations.xml`` ("CVAT for images 1.1") with masks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from dataset_diffusion.dataset.exports.job import SPLITS, Item, Job, Records
from dataset_diffusion.dataset.exports.run_lengths import run_lengths
from dataset_diffusion.prompts.class_sets import ClassSet

LOADING = """\
import xml.etree.ElementTree as xml
images = xml.parse("annotations.xml").getroot().findall("image")
masks = [(image.get("name"), dict(mask.attrib)) for image in images for mask in image.findall("mask")]
"""

LIMITS: tuple[str, ...] = (
    "Make a task in CVAT with the labels of `labels.json` (Raw) and the pictures of `images/`, then upload"
    " `annotations.xml` as CVAT 1.1. What CVAT exports in the same format comes back with `import-labels`.",
)

UNCERTAIN = "uncertain"
"""What id 255 is called where a format has names alone."""


def names_of_ids(classes: ClassSet) -> dict[int, str]:
    """The names by label id of all that can be painted: the classes, and what is uncertain."""
    return {**{class_id: classes.name_of(class_id) for class_id in classes.ids}, classes.ignore_index: UNCERTAIN}


def hex_color(classes: ClassSet, label_id: int) -> str:
    """``#rrggbb``."""
    return "#" + bytes(classes.palette[label_id]).hex()


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    job.make_folders("images")
    for item in items:
        file_name = f"{item.name}{job.image_suffix}"
        job.write(f"images/{file_name}", item.image)
        yield item.record | {"xml": "\n".join(_image_lines(item, file_name, job.class_set))}


def write_index(job: Job, records: Records) -> None:
    labels = [
        {"name": name, "color": hex_color(job.class_set, label_id), "type": "any", "attributes": []}
        for label_id, name in names_of_ids(job.class_set).items()
    ]
    job.write_lines("labels.json", [json.dumps(labels, indent=2, ensure_ascii=False)])
    job.write_lines("annotations.xml", _document(job, records))


def _document(job: Job, records: Records) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield "<annotations><version>1.1</version>"
    yield from _meta(job)
    yield from (record["xml"] for record in records)
    yield "</annotations>"


def _meta(job: Job) -> Iterator[str]:
    """Splits and labels, as CVAT writes those of a project; Datumaro reads no file without them."""
    yield "<meta><project><tasks>"
    for split in SPLITS:
        if any(job.names(split)):
            yield f"<task><name>{split}</name><subset>{split}</subset></task>"
    yield "</tasks><labels>"
    for label_id, name in names_of_ids(job.class_set).items():
        color = f"<color>{hex_color(job.class_set, label_id)}</color>"
        yield f"<label><name>{escape(name)}</name>{color}<type>any</type><attributes></attributes></label>"
    yield "</labels></project></meta>"


def _image_lines(item: Item, file_name: str, classes: ClassSet) -> Iterator[str]:
    """The ``image`` element of a sample: a mask a class, as run lengths inside its box, row by row."""
    height, width = item.label.shape
    index = item.row["index"]
    yield f'<image id="{index}" name="{file_name}" subset="{item.split}" width="{width}" height="{height}">'
    for label_id, name in names_of_ids(classes).items():
        rows, columns = np.nonzero(item.label == label_id)
        if not rows.size:
            continue
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        inside = (item.label[top:bottom, left:right] == label_id).astype(np.uint8)
        lengths = ", ".join(map(str, run_lengths(inside.ravel())))
        box = f'left="{left}" top="{top}" width="{right - left}" height="{bottom - top}"'
        yield f'<mask label={quoteattr(name)} source="auto" occluded="0" rle="{lengths}" {box} z_order="0"></mask>'
    yield "</image>"
