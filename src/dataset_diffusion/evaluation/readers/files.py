"""What the readers of folders share: files read with an error that names them, and checks of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.dataset.schema import LabelMap
from dataset_diffusion.disk.photos import SUFFIXES, is_photo
from dataset_diffusion.disk.pictures import decode_photo
from dataset_diffusion.disk.places import below
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.prompts.class_sets import ClassSet

Decoded = TypeVar("Decoded")


class Files:
    """The photos or label maps of a folder, by name without suffix, which may be any of some, in any case.

    Args:
        folder: the folder; names may be of folders in it, as ``city/frame``.
        usual: the suffix that a file that is missing is told with.
        suffixes: those that are looked for.
    """

    def __init__(self, folder: Path, usual: str = ".jpg", suffixes: Sequence[str] = SUFFIXES) -> None:
        self.folder = folder
        self._usual, self._suffixes = usual, suffixes
        self._found: dict[Path, dict[str, list[Path]]] = {}

    @property
    def names(self) -> list[str]:
        """Of the files in the folder itself, in order, each once."""
        return list(self._list(self.folder))

    def __contains__(self, name: str) -> bool:
        return self.path(name).is_file()

    def path(self, name: str) -> Path:
        """The file of that name; where there is none, the one that is missing.

        Raises:
            DatasetError: two files have the name, or it is no name of a file below the folder.
        """
        usual = below(self.folder, name).with_name(f"{name.rpartition('/')[2]}{self._usual}")
        found = self._list(usual.parent).get(Path(name).name, [usual])
        if len(found) > 1:
            raise DatasetError(
                "two files have the same name but for its end",
                got=f"{found[0].name} and {found[1].name} in {usual.parent}",
                fix="remove or rename one of them",
            )
        return found[0]

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._found:
            found: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in self._suffixes and not path.name.startswith("."):
                    found.setdefault(path.stem, []).append(path)
            self._found[folder] = found
        return self._found[folder]


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
        read_image = partial(read_file, image, decode_photo)
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


def read_names(path: Path, photos: Files) -> tuple[str, ...]:
    """The image names that a split file lists, one at least, one a line.

    A name may hold spaces and end as its file does. Where no photo has the whole line for its name, the line's first
    column is it.

    Raises:
        DatasetError: the split has no file, or its file is no text, lists no image or one twice, or has a name that is
            no name of a file below the photos' folder.
    """
    if not path.is_file():
        others = sorted(other.stem for other in path.parent.glob(f"*{path.suffix}"))
        raise DatasetError("the split has no file", got=str(path), expected=f"--split of {', '.join(others) or 'none'}")
    lines: dict[str, int] = {}
    for number, line in enumerate(read_file(path, decode_text).split("\n"), start=1):
        if line.strip():
            name = _name_in(line.strip(), f"{path}, line {number}", photos)
            if first := lines.get(name):
                raise DatasetError(
                    "an image is listed twice", got=f"{name} in {path}, lines {first} and {number}", fix="remove one"
                )
            lines[name] = number
    if not lines:
        raise DatasetError(f"{path} lists no image")
    return tuple(lines)


def _name_in(line: str, where: str, photos: Files) -> str:
    first_column = line.split(maxsplit=1)[0]
    try:
        for name in (line, first_column):
            if name in photos:
                return name
            if is_photo(Path(name)) and (stem := name.rpartition(".")[0]) in photos:
                return stem
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from error
    return line


def decode_text(data: bytes) -> str:
    """UTF-8 text, without a byte-order mark and with plain ends of lines."""
    return data.decode("utf-8-sig").replace("\r\n", "\n")


def check_ids_of_images(sources: Sequence[Source]) -> None:
    """Raise a DatasetError where two images have one id, or an id cannot name a prediction."""
    names: dict[str, str] = {}
    for source in sources:
        below(Path(), source.id)
        name = str(source.files[0]) if source.files else source.label_name
        if source.id in names:
            raise DatasetError(
                "two images have the same name",
                got=f"{names[source.id]} and {name}",
                fix="rename or remove one of them",
            )
        names[source.id] = name


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
