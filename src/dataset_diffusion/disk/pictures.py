"""The pixels of photos and other pictures, for every reader of them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Picture, ImageOps, UnidentifiedImageError

from dataset_diffusion.errors import ConfigError, DatasetError, first_line

MAX_PIXELS = 2**30 // 12
"""Of a picture that is decoded, 0.27 GB as RGB: one that says it has more is taken for a decompression bomb."""

# It is refused here with an error of ours, so that no line of Pillow's need be read.
warnings.filterwarnings("ignore", category=Picture.DecompressionBombWarning)

Photo = UInt8[np.ndarray, "_ _ 3"]
"""RGB in [0, 255], "h w 3"."""


def check_picture(image: object) -> None:
    """Refuse what is no RGB picture: floats, grey levels, a picture of another library."""
    if not isinstance(image, np.ndarray):
        got = type(image).__name__
        fix: str | None = 'np.asarray(image.convert("RGB"))' if hasattr(image, "convert") else None
    elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        got, fix = f"{image.dtype} of shape {image.shape}", None
        if image.ndim == 3 and image.shape[2] == 3 and np.issubdtype(image.dtype, np.floating):
            fix = "(image * 255).round().astype(np.uint8) of values in [0, 1]"
    else:
        return
    raise ConfigError("not a picture", got=got, expected='a uint8 array of RGB in [0, 255], "h w 3"', fix=fix)


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


def check_one_size(what: str, got: Sequence[int], expected: Sequence[int]) -> None:
    """Refuse two pictures of different sizes, (height, width), with a DatasetError about what they are."""
    if tuple(got) != tuple(expected):
        raise DatasetError(
            f"{what} differ in size", got=" x ".join(map(str, got)), expected=" x ".join(map(str, expected))
        )


def open_picture(data: bytes, *, header_only: bool = False) -> Picture.Image:
    """The picture that bytes hold, in its own mode and as it is stored; of its header alone, with no pixels yet.

    Raises:
        DatasetError: the bytes are no image, or one of more than `MAX_PIXELS`.
    """
    try:
        picture = Picture.open(io.BytesIO(data))
        if picture.width * picture.height > MAX_PIXELS:
            raise Picture.DecompressionBombError(f"{picture.width} x {picture.height} pixels")
        if not header_only:
            picture.load()
    except Picture.DecompressionBombError as error:
        raise DatasetError(
            "the image is absurdly large", got=str(error), expected=f"at most {MAX_PIXELS} pixels"
        ) from error
    except UnidentifiedImageError as error:
        raise DatasetError("the bytes are not an image", got=f"{len(data)} bytes of no format that is known") from error
    except Exception as error:  # whatever the decoder of a format comes across in damaged bytes
        raise DatasetError("the bytes are not an image", got=first_line(error)) from error
    return picture


def open_upright(data: bytes) -> Picture.Image:
    """The picture that bytes hold, in its own mode, turned as its EXIF data says.

    Raises:
        DatasetError: the bytes are no image, or one that is absurdly large.
    """
    picture = open_picture(data)
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # whatever Pillow comes across in damaged EXIF data, which says nothing about the pixels
        return picture
