"""The pixels of photos and other pictures, for every reader of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Picture
from PIL import ImageOps, UnidentifiedImageError

from dataset_diffusion.errors import DatasetError, first_line

Photo = UInt8[np.ndarray, "_ _ 3"]
"""RGB in [0, 255], "h w 3"."""


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
