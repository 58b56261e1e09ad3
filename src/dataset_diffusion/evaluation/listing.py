"""Images with true label maps, read where they are, one at a time when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.dataset.schema import decode_grey as decode_grey  # noqa: PLC0414
from dataset_diffusion.dataset.schema import decode_image
from dataset_diffusion.dataset.schema import encode_grey as encode_grey  # noqa: PLC0414
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet

Decoded = TypeVar("Decoded")
Image = UInt8[np.ndarray, "_ _ 3"]
LabelMap = UInt8[np.ndarray, "_ _"]


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of one split of a benchmark.

    Attributes:
        ids: one an image, in order; each can name a file.
        label_names: what an error message calls each label map: its file; none where the truth is withheld.
        read_image: image number -> uint8 RGB, "h w 3".
        read_label: image number -> uint8 class ids, "h w"; None where the truth is withheld (test splits).
        files: what must be there.
    """

    ids: tuple[str, ...]
    label_names: tuple[str, ...]
    read_image: Callable[[int], Image]
    read_label: Callable[[int], LabelMap] | None
    files: tuple[Path, ...] = ()

    def check_complete(self) -> None:
        """Look for every file.

        Raises:
            DatasetError: naming the first that is missing.
        """
        check_exist(self.files)


def list_files(
    images: dict[str, Path],
    labels: dict[str, Path] | None,
    decode_label: Callable[[bytes], LabelMap],
    classes: ClassSet,
) -> Listing:
    """The listing of a benchmark that has one file an image and one a label map.

    Args:
        images: by id, in order.
        labels: by id; None where the truth is withheld.
        decode_label: bytes of a label map -> class ids.
        classes: what the ids mean; others are refused.
    """
    photos = list(images.values())
    truths = [] if labels is None else [labels[image_id] for image_id in images]

    def read_label(number: int) -> LabelMap:
        return check_ids(read_file(truths[number], decode_label), str(truths[number]), classes)

    return Listing(
        ids=tuple(images),
        label_names=tuple(map(str, truths)),
        read_image=lambda number: read_file(photos[number], decode_image),
        read_label=None if labels is None else read_label,
        files=(*photos, *truths),
    )


def read_file(path: Path, decode: Callable[[bytes], Decoded]) -> Decoded:
    """What a file holds.

    Raises:
        DatasetError: it cannot be read or decoded, by name.
    """
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"cannot read {path}", got=error.strerror or str(error)) from error
    except (DatasetError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot use {path}", got=str(error)) from error


def read_names(path: Path) -> tuple[str, ...]:
    """The image names that a split file lists.

    Raises:
        DatasetError: it cannot be read or lists nothing, by name.
    """
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
    strange = label[(label > classes.num_classes) & (label != classes.ignore_index)]
    if strange.size:
        raise DatasetError(
            f"{name} has ids outside the class set",
            got=f"{strange[0]} in {strange.size} pixels",
            expected=f"0..{classes.num_classes}, or {classes.ignore_index} to ignore",
        )
    return label
