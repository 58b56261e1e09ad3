"""Which files of a folder are photos, for every reader of photos. Imports no NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataset_diffusion.errors import DatasetError, tell

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""How the name of a photo ends, in any case."""
_NAMED = ", ".join(SUFFIXES)
MAX_NAMED = 5


def list_photos(folder: Path) -> list[Path]:
    """Photos in a folder and the folders in it, in the order of their names. Other files are told, hidden ones are not.

    Raises:
        DatasetError: there are none, or the folder cannot be read.
    """
    try:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise DatasetError("cannot read the folder", got=f"{folder}: {error.strerror}") from error
    photos = [file for file in files if is_photo(file)]
    if not photos:
        raise DatasetError(
            "no photos in the folder", got=str(folder), expected=f"files that end in {', '.join(SUFFIXES)}"
        )
    tell_left_out("that are no photos", [file for file in files if not is_photo(file)])
    return photos


def is_photo(path: Path) -> bool:
    """Whether a file's name is that of a photo."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def tell_left_out(why: str, files: Sequence[Path]) -> None:
    """Say on stderr how many files are left out, why, and the first of them; nothing where there is none."""
    if files:
        names = ", ".join(file.name for file in files[:MAX_NAMED])
        more = ", …" if len(files) > MAX_NAMED else ""
        tell(f"left out {len(files)} files {why} in {files[0].parent}: {names}{more}")
