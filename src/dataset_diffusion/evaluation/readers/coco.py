"""COCO 2017 as semantic segmentation: label maps made of the instances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask

from dataset_diffusion.dataset.schema import LabelMap
from dataset_diffusion.disk.instances import not_instances, read_instances
from dataset_diffusion.disk.pictures import decode_photo
from dataset_diffusion.disk.places import below
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.readers.files import check_folders, read_file
from dataset_diffusion.prompts.class_sets import ClassSet

EXAMPLE = "coco"
MAX_SIDE = 2**15
"""Pixels; of an image, and of a coordinate of a polygon."""

_CROWD = {0: False, 1: True, "0": False, "1": True}
_FIX = "export polygons or masks, or leave out what is bad with --skip-bad"


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
    images, annotations, class_ids = _load(instances, classes)

    def source(image: Mapping[str, Any]) -> Source:
        photo, label_name = below(root / name, image["file_name"]), f"{instances}: image {image['file_name']}"
        read_label = partial(_read_label, annotations[image["id"]], image, class_ids, label_name)
        return Source(photo.stem, partial(read_file, photo, decode_photo), read_label, label_name, (photo,))

    return [source(image) for image in images]


def draw_instances(
    instances: Iterable[Mapping[str, Any]], size: tuple[int, int], class_ids: Mapping[Hashable, int]
) -> LabelMap:
    """One label map of a size, (height, width), from the instances of an image, with label ids by category id.

    Crowd regions come first, as pixels to ignore; then the objects, the largest mask first, so that where two overlap
    the smaller is on top (of two equal ones, that of the higher annotation id).

    Raises:
        DatasetError: an instance has no mask, or one that does not fit the image.
    """
    label = np.zeros(size, dtype=np.uint8)
    drawn = []
    for instance in instances:
        crowd = _is_crowd(instance)
        run_lengths = _run_lengths(instance, size)
        # An area is an unsigned integer of NumPy's, whose negative is no area.
        order = not crowd, -int(mask.area(run_lengths)), instance["id"]
        drawn.append((order, ClassSet.ignore_index if crowd else class_ids[instance["category_id"]], run_lengths))
    for _, class_id, run_lengths in sorted(drawn, key=lambda one: one[0]):
        label[mask.decode(run_lengths).astype(bool)] = class_id
    return label


def _is_crowd(instance: Mapping[str, Any]) -> bool:
    crowd = instance.get("iscrowd", 0)
    if not isinstance(crowd, int | str) or crowd not in _CROWD:
        raise DatasetError(f"iscrowd of annotation {instance['id']}", got=repr(crowd), expected="0 or 1")
    return _CROWD[crowd]


def _run_lengths(instance: Mapping[str, Any], size: tuple[int, int]) -> Any:
    """The mask of an instance as pycocotools' run lengths, checked before pycocotools computes with it."""
    segmentation = instance.get("segmentation")
    if not segmentation:
        only = " (a box only)" if instance.get("bbox") else ""
        raise DatasetError(f"annotation {instance['id']} has no mask{only}", fix=_FIX)
    height, width = size
    if isinstance(segmentation, list):
        _check_polygons(segmentation, instance["id"])
        return mask.merge(mask.frPyObjects(segmentation, height, width))
    counts = segmentation["counts"]
    if list(segmentation["size"]) != [height, width]:
        raise _misfit(instance["id"], f"run lengths of {segmentation['size']}", f"of {[height, width]}")
    if not isinstance(counts, list):
        return segmentation
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise _misfit(instance["id"], f"run lengths of {sum(counts)} pixels", f"{height * width}")
    return mask.frPyObjects(segmentation, height, width)


def _check_polygons(polygons: Sequence[Any], annotation: object) -> None:
    for polygon in polygons:
        try:
            points = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise _misfit(annotation, repr(polygon), "numbers x, y, x, y, …") from error
        if points.ndim != 1 or points.size % 2 or points.size < 6:
            raise _misfit(annotation, f"a polygon of {points.size} numbers", "x and y of three points at least")
        if not (np.abs(points) <= MAX_SIDE).all():
            raise _misfit(annotation, f"a polygon that reaches {np.abs(points).max()}", f"up to {MAX_SIDE} pixels")


def _misfit(annotation: object, got: str, expected: str) -> DatasetError:
    return DatasetError(f"annotation {annotation} has no mask of its image", got=got, expected=expected, fix=_FIX)


def _read_label(
    instances: Sequence[Mapping[str, Any]], image: Mapping[str, Any], class_ids: Mapping[Hashable, int], name: str
) -> LabelMap:
    try:
        return draw_instances(instances, (image["height"], image["width"]), class_ids)
    except DatasetError as error:
        raise DatasetError(f"cannot use {name}", got=str(error)) from error
    # pycocotools raises whatever it comes across; a user only wants to know which image it was.
    except Exception as error:
        raise DatasetError(
            f"cannot use {name}", got=f"{type(error).__name__}: {error}", expected="COCO instances"
        ) from error


def _load(
    file: Path, classes: ClassSet
) -> tuple[list[dict[str, Any]], Mapping[Hashable, list[dict[str, Any]]], dict[Hashable, int]]:
    """Of an instances file: the images in the order of their ids, annotations by image, and label ids by category."""
    found = read_instances(file)
    of_image: dict[Hashable, list[dict[str, Any]]] = defaultdict(list)
    for annotation in found.annotations:
        of_image[annotation["image_id"]].append(annotation)
    try:
        class_ids = {category: classes.id_of(name) for category, name in found.categories.items()}
        for image in found.images:
            _check_image(image)
        return sorted(found.images, key=lambda image: image["id"]), of_image, class_ids
    except (KeyError, TypeError) as error:
        raise not_instances(file, error) from error
    except ConfigError as error:
        raise DatasetError(f"{file} has other categories", got=str(error)) from error


def _check_image(image: Mapping[str, Any]) -> None:
    if not isinstance(image["file_name"], str):
        raise TypeError(f"file_name {image['file_name']!r}")
    for side in (image["height"], image["width"]):
        if not isinstance(side, int) or not 0 < side <= MAX_SIDE:
            raise TypeError(f"{image['file_name']} is of {side!r} pixels, not 1 to {MAX_SIDE}")
