"""Photos with one mask each, foreground or not: DIS5K, and salient-object sets in ECSSD's layout."""

from __future__ import annotations

from pathlib import Path

from dataset_diffusion.disk.photos import is_photo, tell_left_out
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.label_maps import decode_mask
from dataset_diffusion.evaluation.readers.files import Files, list_files
from dataset_diffusion.prompts.class_sets import ClassSet

EXAMPLE = "DIS5K"
DEFAULT_SPLIT = "DIS-VD"
LAYOUTS = (("im", "gt"), ("images", "ground_truth_mask"))
"""Names of the folders of photos and masks: DIS5K's, ECSSD's."""


def read_masks(root: Path, split: str | None, classes: ClassSet) -> list[Source]:
    """The photos of a split, by name; each mask has its photo's name.

    Args:
        root: of splits (``DIS-VD``, ``DIS-TE1`` … ``DIS-TE4``) that hold ``im`` and ``gt``; or of the two folders.
        split: the split's folder; None is ``DIS-VD``, or ``root`` itself where it holds photos and masks.
    """
    photos, masks = (
        Files(folder, usual) for folder, usual in zip(_folders(root, split), (".jpg", ".png"), strict=True)
    )
    names = photos.names
    if not names:
        raise DatasetError("no image in the split", got=str(photos.folder))
    others = [path for path in sorted(photos.folder.glob("[!.]*")) if path.is_file() and not is_photo(path)]
    tell_left_out("that are no photos", others)
    tell_left_out("without a photo", [masks.path(name) for name in masks.names if name not in photos])
    return list_files(
        {name: photos.path(name) for name in names}, {name: masks.path(name) for name in names}, decode_mask, classes
    )


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
