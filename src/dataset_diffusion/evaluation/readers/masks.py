"""Photos with one mask each, foreground or not: DIS5K, and salient-object sets in ECSSD's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataset_diffusion.dataset.schema import LabelMap, decode_grey
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.readers.files import list_files
from dataset_diffusion.prompts.class_sets import ClassSet

EXAMPLE = "DIS5K"
DEFAULT_SPLIT = "DIS-VD"
LAYOUTS = (("im", "gt"), ("images", "ground_truth_mask"))
"""Names of the folders of photos and masks: DIS5K's, ECSSD's."""

PHOTOS = {".jpg", ".jpeg", ".png"}


def read_masks(root: Path, split: str | None, classes: ClassSet) -> list[Source]:
    """The photos of a split, by name; each mask has its photo's name.

    Args:
        root: of splits (``DIS-VD``, ``DIS-TE1`` … ``DIS-TE4``) that hold ``im`` and ``gt``; or of the two folders.
        split: the split's folder; None is ``DIS-VD``, or ``root`` itself where it holds photos and masks.
    """
    photos, masks = _folders(root, split)
    images = {path.stem: path for path in sorted(photos.iterdir()) if path.suffix.lower() in PHOTOS}
    if not images:
        raise DatasetError("no image in the split", got=str(photos))
    return list_files(images, {name: masks / f"{name}.png" for name in images}, decode_mask, classes)


def decode_mask(data: bytes) -> LabelMap:
    """1 where a mask is brighter than half, as the measures have it."""
    return (decode_grey(data) > 128).astype(np.uint8)


def _folders(root: Path, split: str | None) -> tuple[Path, Path]:
    for folder in ([root] if split is None else []) + [root / (split or DEFAULT_SPLIT)]:
        for photos, masks in LAYOUTS:
            if (folder / photos).is_dir() and (folder / masks).is_dir():
                return folder / photos, folder / masks
    splits = sorted({path.parent.name for photos, _ in LAYOUTS for path in root.glob(f"*/{photos}")})
    raise DatasetError(
        "not the benchmark's folder",
        got=str(root / (split or DEFAULT_SPLIT)),
        expected=f"im and gt in it ({root} has the splits: {', '.join(splits) or 'none'})",
        fix=f"--root {EXAMPLE} --split {splits[0] if splits else DEFAULT_SPLIT}",
    )
