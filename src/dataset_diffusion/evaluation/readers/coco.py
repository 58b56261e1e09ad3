"""COCO 2017 as semantic segmentation: label maps made of the instances."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO

from dataset_diffusion.dataset.schema import LabelMap, decode_image
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.readers.files import check_folders, read_file
from dataset_diffusion.prompts.class_sets import ClassSet

EXAMPLE = "coco"


def read_coco(root: Path, split: str | None, classes: ClassSet) -> list[Source]:
    """The photos of ``annotations/instances_<split>2017.json``, in the order of their ids.

    Args:
        root: with ``annotations`` and a folder of photos for each split, such as ``val2017``.
        split: ``val`` (also None) or ``train``.
        classes: its names are the file's categories.
    """
    name = f"{split or 'val'}2017"
    instances = root / "annotations" / f"instances_{name}.json"
    check_folders(root, (f"annotations/{instances.name}", name), EXAMPLE)
    coco, class_ids = _load(instances, classes)

    def source(image: Mapping[str, Any]) -> Source:
        photo, label_name = root / name / image["file_name"], f"{instances}: image {image['file_name']}"
        read_label = partial(_read_label, coco, image, class_ids, label_name)
        return Source(photo.stem, partial(read_file, photo, decode_image), read_label, label_name, (photo,))

    return [source(image) for _, image in sorted(coco.imgs.items())]


def draw_instances(coco: COCO, image: Mapping[str, Any], class_ids: Mapping[int, int]) -> LabelMap:
    """One label map from the instances of an entry of the file's ``images``, with label ids by category id.

    Crowd regions come first, as pixels to ignore; then the objects, the largest mask first, so that where two overlap
    the smaller is on top (of two equal ones, that of the higher annotation id).
    """
    label = np.zeros((image["height"], image["width"]), dtype=np.uint8)
    instances: Sequence[dict[str, Any]] = coco.imgToAnns[image["id"]]
    masks = {instance["id"]: coco.annToRLE(instance) for instance in instances}

    def order(instance: dict[str, Any]) -> tuple[bool, int, int]:
        # An area is an unsigned integer of NumPy's, whose negative is no area.
        return not instance["iscrowd"], -int(mask.area(masks[instance["id"]])), instance["id"]

    for instance in sorted(instances, key=order):
        class_id = ClassSet.ignore_index if instance["iscrowd"] else class_ids[instance["category_id"]]
        label[mask.decode(masks[instance["id"]]).astype(bool)] = class_id
    return label


def _read_label(coco: COCO, image: Mapping[str, Any], class_ids: Mapping[int, int], name: str) -> LabelMap:
    try:
        return draw_instances(coco, image, class_ids)
    # pycocotools raises whatever it comes across; a user only wants to know which image it was.
    except Exception as error:
        raise DatasetError(
            f"cannot use {name}", got=f"{type(error).__name__}: {error}", expected="COCO instances"
        ) from error


def _load(instances: Path, classes: ClassSet) -> tuple[COCO, dict[int, int]]:
    """The instances file, and label id by category id."""
    coco = COCO()
    try:
        coco.dataset = read_file(instances, json.loads)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints how it gets on
            coco.createIndex()
        _check_images(coco)
        return coco, {category: classes.id_of(coco.cats[category]["name"]) for category in coco.cats}
    except json.JSONDecodeError as error:
        raise DatasetError(f"{instances} is not JSON", got=str(error)) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{instances} is not a COCO instances file",
            got=f"{type(error).__name__}: {error}",
            expected="images, annotations and categories",
        ) from error
    except ConfigError as error:
        raise DatasetError(f"{instances} has other categories", got=str(error)) from error


def _check_images(coco: COCO) -> None:
    if not (coco.imgs and coco.cats and isinstance(coco.dataset["annotations"], list)):
        raise KeyError("no images, or no annotations")
    for image in coco.imgs.values():
        image["file_name"], image["height"], image["width"]
