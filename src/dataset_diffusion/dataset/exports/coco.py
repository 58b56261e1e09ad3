"""COCO: ``images/`` and ``annotations/instances_train.json``, whose category ids are the label ids.

Uncertain pixels are a crowd region of a category of their own, 255: training code skips crowds, and a reader that
paints every annotation with its category id has the label map back. Without ``crowd`` the
uncertain region and its category are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from pycocotools import mask as coco_mask

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.job import SPLITS, Item, Job, Records, Split
from dataset_diffusion.dataset.exports.polygons import corner_polygons
from dataset_diffusion.dataset.exports.run_lengths import run_lengths
from dataset_diffusion.prompts.class_sets import ClassSet

LOADING = """\
from pycocotools.coco import COCO
coco = COCO("annotations/instances_train.json")
masks = [(one["category_id"], coco.annToMask(one)) for one in coco.imgToAnns[coco.getImgIds()[0]]]
"""

LIMITS: tuple[str, ...] = (
    "Uncertain pixels are a crowd annotation (`iscrowd: 1`) of category 255, `uncertain`, which training code skips.",
    "With `--no-crowd` uncertain pixels are background.",
    "With `--instances` an object is an 8-connected component of a class: objects of one class that touch are one.",
)


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    job.make_folders("images")
    for item in items:
        file_name = f"{item.name}{job.image_suffix}"
        job.write(f"images/{file_name}", item.image)
        height, width = item.label.shape
        image = {"id": item.row["index"], "file_name": file_name, "height": height, "width": width}
        yield item.record | {"image": image, "annotations": list(annotate(item.label, item.row["index"], job.settings))}


def write_index(job: Job, records: Records) -> None:
    job.make_folders("annotations")
    for split in SPLITS:
        if any(job.names(split)):
            job.write_lines(f"annotations/instances_{split}.json", _index_lines(job, split, records))


def annotate(label: UInt8[np.ndarray, "h w"], image_id: int, settings: ExportSettings) -> Iterator[dict[str, Any]]:
    """The annotations of a label map, without their own ids: none for id 0, a crowd annotation for 255 if asked for."""
    for category_id in np.unique(label).tolist():
        if category_id == 0:
            continue
        uncertain = category_id == ClassSet.ignore_index
        if uncertain and not settings.crowd:
            continue
        mask = (label == category_id).astype(np.uint8)
        for part in _components(mask) if settings.instances and not uncertain else [mask]:
            yield {
                "image_id": image_id,
                "category_id": category_id,
                "iscrowd": int(uncertain),
                **_region(part, polygons=settings.polygons and not uncertain, as_list=settings.counts == "list"),
            }


def _region(mask: UInt8[np.ndarray, "h w"], *, polygons: bool, as_list: bool) -> dict[str, Any]:
    """The pixels of an annotation, their number and their box."""
    encoded = coco_mask.encode(np.asfortranarray(mask))
    counts = run_lengths(mask.ravel(order="F")) if as_list else encoded["counts"].decode()
    rings = [ring.ravel().tolist() for ring in corner_polygons(mask)] if polygons else None
    return {
        "area": int(coco_mask.area(encoded)),
        "bbox": coco_mask.toBbox(encoded).tolist(),
        "segmentation": rings or {"size": list(mask.shape), "counts": counts},
    }


def _components(mask: UInt8[np.ndarray, "h w"]) -> Iterator[UInt8[np.ndarray, "h w"]]:
    count, components = cv2.connectedComponents(mask, connectivity=8)
    return ((components == number).astype(np.uint8) for number in range(1, count))


def _index_lines(job: Job, split: Split, records: Records) -> Iterator[str]:
    """The JSON file of a split; the records are read once for the images and once for the annotations."""
    classes = job.class_set
    names = [{"id": i, "name": classes.name_of(i), "supercategory": classes.name} for i in classes.ids]
    ignored = {"id": classes.ignore_index, "name": "uncertain", "supercategory": "ignored"}
    categories = [*names, ignored] if job.settings.crowd else names
    licences = [{"id": 1, "name": job.settings.licence or "not stated", "url": ""}]
    yield '{"info": ' + json.dumps({"description": "made with Dataset Diffusion"}) + ","
    yield f'"licenses": {json.dumps(licences)},'
    yield f'"categories": {json.dumps(categories)},'
    yield '"images": ['
    yield from _separated(record["image"] | {"license": 1} for record in records if record["split"] == split)
    yield '], "annotations": ['
    annotations = (one for record in records if record["split"] == split for one in record["annotations"])
    yield from _separated({"id": number} | one for number, one in enumerate(annotations, start=1))
    yield "]}"


def _separated(values: Iterator[dict[str, Any]]) -> Iterator[str]:
    """JSON values as the lines of a list, a comma before each but the first."""
    for number, value in enumerate(values):
        yield ("," if number else "") + json.dumps(value, separators=(",", ":"))
