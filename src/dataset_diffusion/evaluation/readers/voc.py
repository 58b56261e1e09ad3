"""PASCAL VOC 2012, segmentation."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dataset_diffusion.disk.photos import tell_left_out
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.label_maps import decode_ids
from dataset_diffusion.evaluation.readers.files import Files, check_folders, list_files, read_names
from dataset_diffusion.prompts.class_sets import ClassSet

LOSSLESS = (".bmp", ".png", ".tif", ".tiff")
SPLITS = "ImageSets/Segmentation"
EXAMPLE = "VOCdevkit/VOC2012"


def read_voc(root: Path, split: str | None, classes: ClassSet) -> list[Source]:
    """The photos that ``ImageSets/Segmentation/<split>.txt`` lists.

    Args:
        root: with ``JPEGImages`` and, but for the test split, ``SegmentationClass``.
        split: a split file's name; None is ``val``, or every photo with a label map where no split is listed at all.
    """
    check_folders(root, ("JPEGImages",) if split == "test" else ("JPEGImages", "SegmentationClass"), EXAMPLE)
    photos, labels = Files(root / "JPEGImages"), Files(root / "SegmentationClass", ".png", LOSSLESS)
    if split is None and not (root / SPLITS).is_dir():
        names = _in_both(photos, labels)
    else:
        names = read_names(root / SPLITS / f"{split or 'val'}.txt", photos)
    return list_files(
        {name: photos.path(name) for name in names},
        None if split == "test" else {name: labels.path(name) for name in names},
        partial(decode_ids, classes=classes),
        classes,
    )


def _in_both(photos: Files, labels: Files) -> tuple[str, ...]:
    """The photos that have a label map; the others, and label maps without a photo, are told."""
    tell_left_out("without a label map", [photos.path(name) for name in photos.names if name not in labels])
    tell_left_out("without a photo", [labels.path(name) for name in labels.names if name not in photos])
    return tuple(name for name in photos.names if name in labels)
