"""What the readers of folders share: files read with an error that names them, and checks of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.dataset.schema import LabelMap, decode_image
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.prompts.class_sets import ClassSet

Decoded = TypeVar("Decoded")


def list_files(
    images: Mapping[str, Path],
    labels: Mapping[str, Path] | None,
    decode_label: Callable[[bytes], LabelMap],
    classes: ClassSet,
) -> list[Source]:
    """The images of a benchmark that has one file an image and one a label map.

    Args:
        images: by id, in order.
        labels: by id; None where the truth is withheld.
        decode_label: bytes of a label map -> class ids.
        classes: what the ids mean; others are refused.
    """

    def source(image_id: str, image: Path) -> Source:
        read_image = partial(read_file, image, decode_image)
        if labels is None:
            return Source(image_id, read_image, files=(image,))
        label = labels[image_id]
        read = partial(read_label, label, decode_label, classes)
        return Source(image_id, read_image, read, str(label), (image, label))

    return [source(image_id, image) for image_id, image in images.items()]


def read_label(path: Path, decode: Callable[[bytes], LabelMap], classes: ClassSet) -> LabelMap:
    """The label map that a file holds; what is wrong with it, its ids included, is a DatasetError that names it."""
    return check_ids(read_file(path, decode), str(path), classes)


def read_file(path: Path, decode: Callable[[bytes], Decoded]) -> Decoded:
    """What a file holds; that it cannot be read or decoded is a DatasetError that names it."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"cannot read {path}", got=error.strerror or str(error)) from error
    except (DatasetError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot use {path}", got=str(error)) from error


def read_names(path: Path) -> tuple[str, ...]:
    """The image names that a split file lists, one at least."""
    if not path.is_file():
        others = sorted(other.stem for other in path.parent.glob(f"*{path.suffix}"))
        raise DatasetError("the split has no file", got=str(path), expected=f"--split of {', '.join(others) or 'none'}")
    names = tuple(read_file(path, bytes.decode).split())
    if not names:
        raise DatasetError(f"{path} lists no image")
    return names


def check_exist(paths: Sequence[Path]) -> None:
    """Raise a DatasetError naming the first file that is missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            "a file is missing",
            got=f"{missing[0]} ({len(missing)} of {len(paths)} missing)",
            fix="complete the folder, name another one, or leave out what is bad with --skip-bad",
        )


def check_folders(root: Path, names: tuple[str, ...], example: str) -> None:
    """Raise a DatasetError where a folder lacks what makes it the benchmark's."""
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise DatasetError(
            "not the benchmark's folder",
            got=f"{root} without {missing[0]}",
            expected=f"a folder with {' and '.join(names)}",
            fix=f"--root {example}",
        )


def check_ids(label: LabelMap, name: str, classes: ClassSet) -> LabelMap:
    """The label map itself, once its ids are known to be of the class set."""
    last, ignored = classes.num_classes, classes.ignore_index
    strange = label[(label > last) & (label != ignored)]
    refuse_ids(strange, f"{name} has ids outside the class set", f"0..{last}, or {ignored} to ignore")
    return label


def refuse_ids(strange: UInt8[np.ndarray, " n"], what: str, expected: str) -> None:
    """Raise a DatasetError where a label map has ids that it should not have."""
    if strange.size:
        raise DatasetError(what, got=f"{strange[0]} in {strange.size} pixels", expected=expected)
