"""CelebAMask-HQ: 18 parts of the face, as label maps or as published, one PNG a part."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from dataset_diffusion.dataset.schema import Image, LabelMap, decode_grey
from dataset_diffusion.disk.pictures import decode_photo
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.evaluation.label_maps import decode_ids
from dataset_diffusion.evaluation.readers.files import Files, check_folders, decode_text, read_file, read_label
from dataset_diffusion.prompts.class_sets import ClassSet

EXAMPLE = "CelebAMask-HQ"
PHOTOS, PARTS, LABELS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebAMaskHQ-mask"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"

SIZE = (512, 512)
"""Of the annotations, (height, width). The photos are twice as large and are predicted at this size."""

FACES_PER_FOLDER = 2000

SPLITS = {"train": range(1, 162771), "val": range(162771, 182638), "test": range(182638, 202600)}
"""CelebA's own splits, by the number of the photo in CelebA."""


def read_celebamask(root: Path, split: str | None, classes: ClassSet) -> list[Source]:
    """The faces of a split, by number.

    Args:
        root: with ``CelebA-HQ-img``, ``CelebA-HQ-to-CelebA-mapping.txt``, and ``CelebAMaskHQ-mask`` (label maps) or
            ``CelebAMask-HQ-mask-anno`` (a PNG a part).
        split: ``test`` (also None), ``val`` or ``train``.
    """
    annotations = LABELS if (root / LABELS).is_dir() else PARTS
    check_folders(root, (PHOTOS, MAPPING, annotations), EXAMPLE)
    numbers = _read_split(root / MAPPING, split or "test")
    photos = Files(root / PHOTOS)
    return [_face(root, number, photos.path(str(number)), annotations, classes) for number in numbers]


def _face(root: Path, number: int, photo: Path, annotations: str, classes: ClassSet) -> Source:
    truth = root / LABELS / f"{number}.png"
    read = partial(read_label, truth, partial(decode_ids, classes=classes), classes)
    if annotations == PARTS:
        truth, read = _part(root, number, classes.names[0]), partial(merge_parts, root, number, classes)
    return Source(str(number), partial(read_file, photo, decode_face), read, str(truth), (photo, truth))


def merge_parts(root: Path, number: int, classes: ClassSet) -> LabelMap:
    """One label map from the parts of a face that have a PNG. Where parts overlap, the one of the higher id is on top,
    as in the label maps that the dataset's authors make.
    """
    label = np.zeros(SIZE, dtype=np.uint8)
    for class_id, name in enumerate(classes.names, start=1):
        path = _part(root, number, name)
        if class_id > 1 and not path.is_file():  # a face may lack any part but its skin
            continue
        mask = read_file(path, decode_grey)
        if mask.shape != SIZE:
            raise DatasetError(
                f"{path} has another size than the annotations",
                got=" x ".join(map(str, mask.shape)),
                expected=" x ".join(map(str, SIZE)),
            )
        label[mask > 0] = class_id
    return label


def decode_face(data: bytes) -> Image:
    """A photo at the size of the annotations."""
    height, width = SIZE
    return np.array(Picture.fromarray(decode_photo(data)).resize((width, height), Picture.Resampling.BILINEAR))


def _part(root: Path, number: int, name: str) -> Path:
    return root / PARTS / str(number // FACES_PER_FOLDER) / f"{number:05d}_{name}.png"


def _read_split(mapping: Path, split: str) -> list[int]:
    """Numbers of the faces whose photo in CelebA is of a split; the lines are ``number  index  name-in-CelebA``."""
    if split not in SPLITS:
        raise DatasetError("no such split", got=split, expected=f"one of {', '.join(SPLITS)}")
    lines = [line.split() for line in read_file(mapping, decode_text).splitlines()]
    faces = [line for line in lines if len(line) == 3 and line[0].isdigit()]
    try:
        numbers = [int(number) for number, _, name in faces if int(Path(name).stem) in SPLITS[split]]
    except ValueError as error:
        raise DatasetError(
            f"cannot use {mapping}", got=str(error), expected="number, index, photo in CelebA"
        ) from error
    if not numbers:
        raise DatasetError(
            f"{mapping} lists no face of the split", got=f"{len(faces)} faces", expected=f"some of {split}"
        )
    return numbers
