"""Photos on disk: which files of a folder are photos, and their pixels. Every reader of photos has both from here."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Picture
from PIL import ImageOps, UnidentifiedImageError

from dataset_diffusion.errors import DatasetError, first_line

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""How the name of a photo ends, in any case."""
_NAMED = ", ".join(SUFFIXES)
MAX_NAMED = 5

Photo = UInt8[np.ndarray, "_ _ 3"]
"""RGB in [0, 255], "h w 3"."""

_log = logging.getLogger(__name__)


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
        _log.warning("left out %d files %s in %s: %s%s", len(files), why, files[0].parent, names, more)


def read_photo(path: Path) -> Photo:
    """The pixels of a photo, upright; a DatasetError that names the file where it cannot be read."""
    try:
        return decode_photo(path.read_bytes())
    except (OSError, DatasetError) as error:
        raise DatasetError(
            "a photo cannot be read",
            got=f"{path}: {first_line(error)}",
            fix="replace or remove it, or leave out what is bad with --skip-bad",
        ) from error


def decode_photo(data: bytes) -> Photo:
    """The pixels of a photo, turned as its EXIF data says. Of 16 bits a level the upper 8 are taken.

    Raises:
        DatasetError: the bytes are no image, one that is absurdly large, or one with levels of 32 bits.
    """
    picture = open_upright(data)
    if picture.mode in {"I", "F"}:
        raise DatasetError(
            "the levels of a photo are of 32 bits", got=f"mode {picture.mode}", expected="8 or 16 bits a level"
        )
    if picture.mode.startswith("I;16"):
        levels = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.repeat(levels[..., None], 3, axis=2)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def open_upright(data: bytes) -> Picture.Image:
    """The picture that bytes hold, in its own mode, turned as its EXIF data says.

    Raises:
        DatasetError: the bytes are no image, or one that is absurdly large.
    """
    try:
        picture = Picture.open(io.BytesIO(data))
        picture.load()
    except Picture.DecompressionBombError as error:
        raise DatasetError("the image is absurdly large", got=str(error)) from error
    except UnidentifiedImageError as error:
        raise DatasetError("the bytes are not an image", got=f"{len(data)} bytes of no format that is known") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError("the bytes are not an image", got=str(error)) from error
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # whatever Pillow comes across in damaged EXIF data, which says nothing about the pixels
        return picture
