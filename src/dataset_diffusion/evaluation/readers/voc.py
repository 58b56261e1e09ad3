"""PASCAL VOC 2012, segmentation."""

from __future__ import annotations

from pathlib import Path

from dataset_diffusion.dataset.schema import decode_label
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.readers.files import check_folders, list_files, read_names
from dataset_diffusion.prompts.class_sets import ClassSet

SPLITS = "ImageSets/Segmentation"
EXAMPLE = "VOCdevkit/VOC2012"


def read_voc(root: Path, split: str | None, classes: ClassSet) -> list[Source]:
    """The photos that ``ImageSets/Segmentation/<split>.txt`` lists.

    Args:
        root: with ``JPEGImages`` and, but for the test split, ``SegmentationClass``.
        split: a split file's name; None is ``val``, or every photo with a label map where no split is listed at all.
    """
    photos, labels = root / "JPEGImages", root / "SegmentationClass"
    check_folders(root, ("JPEGImages",) if split == "test" else ("JPEGImages", "SegmentationClass"), EXAMPLE)
    if split is None and not (root / SPLITS).is_dir():
        names = tuple(path.stem for path in sorted(labels.glob("*.png")) if (photos / f"{path.stem}.jpg").exists())
    else:
        names = read_names(root / SPLITS / f"{split or 'val'}.txt")
    return list_files(
        {name: photos / f"{name}.jpg" for name in names},
        None if split == "test" else {name: labels / f"{name}.png" for name in names},
        decode_label,
        classes,
    )
