"""Cityscapes, fine annotations: 19 train classes, whose predictions are exchanged in the ids of the original labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataset_diffusion.dataset.schema import LabelMap, decode_label, encode_grey
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.readers.files import check_folders, list_files, refuse_ids
from dataset_diffusion.prompts.class_sets import ClassSet

EXAMPLE = "cityscapes"
IMAGE, LABEL_IDS, TRAIN_IDS = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"

ORIGINAL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of classes 1..19, road to bicycle, in labelIds files. The others up to 33 are not scored."""

LAST_ORIGINAL_ID = 33
UNLABELED = 0
NO_CLASS = 0
"""The background: every scored pixel of a street is of some class, so that to predict it is to miss one."""

IGNORE = ClassSet.ignore_index
OUTSIDE = "ids outside the class set"


def read_cityscapes(root: Path, split: str | None, classes: ClassSet) -> list[Source]:
    """The frames of a split, by name.

    Args:
        root: with ``leftImg8bit`` and ``gtFine``; labelIds files are read, where there are none labelTrainIds files.
        split: ``val`` (also None), ``train``, or ``test``, whose published label maps are empty and are not read.
    """
    split = split or "val"
    frames, labels = f"leftImg8bit/{split}", f"gtFine/{split}"
    check_folders(root, (frames,) if split == "test" else (frames, labels), EXAMPLE)
    images = {path.name.removesuffix(IMAGE): path for path in sorted((root / frames).glob(f"*/*{IMAGE}"))}
    if not images:
        raise DatasetError("no image in the split", got=str(root / frames), expected=f"<city>/<frame>{IMAGE}")
    if split == "test":
        return list_files(images, None, decode_label, classes)
    only_train_ids = any((root / labels).glob(f"*/*{TRAIN_IDS}")) and not any((root / labels).glob(f"*/*{LABEL_IDS}"))
    suffix, decode = (TRAIN_IDS, decode_train_ids) if only_train_ids else (LABEL_IDS, decode_label_ids)
    truths = {name: root / labels / image.parent.name / f"{name}{suffix}" for name, image in images.items()}
    return list_files(images, truths, decode, classes)


def encode_prediction(prediction: LabelMap) -> bytes:
    """A prediction as the test server wants it: a grey PNG of original ids; background is unlabeled."""
    table = np.full(256, UNLABELED, dtype=np.uint8)
    table[1 : len(ORIGINAL_IDS) + 1] = ORIGINAL_IDS
    return encode_grey(np.take(table, prediction))


def decode_prediction(data: bytes) -> LabelMap:
    """A prediction in original ids; those that are not scored are `NO_CLASS`."""
    return _translate(decode_label(data), other=NO_CLASS)


def decode_label_ids(data: bytes) -> LabelMap:
    """A label map in original ids; those that are not scored are ignored."""
    return _translate(decode_label(data), other=IGNORE)


def decode_train_ids(data: bytes) -> LabelMap:
    """A label map in train ids, 0..18, or 255 to ignore."""
    ids = decode_label(data)
    last = len(ORIGINAL_IDS) - 1
    refuse_ids(ids[(ids > last) & (ids != IGNORE)], OUTSIDE, f"train ids 0..{last}, or {IGNORE} to ignore")
    return np.where(ids == IGNORE, ids, ids + np.uint8(1))


def _translate(ids: LabelMap, other: int) -> LabelMap:
    refuse_ids(ids[ids > LAST_ORIGINAL_ID], OUTSIDE, f"original ids 0..{LAST_ORIGINAL_ID}")
    table = np.full(256, other, dtype=np.uint8)
    table[list(ORIGINAL_IDS)] = np.arange(1, len(ORIGINAL_IDS) + 1)
    return np.take(table, ids)
