"""Photos in a folder: which there are, what each is known by, and its pixels. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from dataset_diffusion.errors import PromptError, first_line

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

Key = tuple[str, int]
"""What tells a photo from another: its path in the folder and its size in bytes."""


def list_photos(folder: Path) -> list[Path]:
    """Photos in a folder and the folders in it, in the order of their names.

    Raises:
        PromptError: there are none, or the folder cannot be read.
    """
    try:
        files = sorted(folder.rglob("*"))
    except OSError as error:
        raise PromptError("cannot read the folder", got=f"{folder}: {error.strerror}") from error
    photos = [file for file in files if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")]
    if not photos:
        raise PromptError(
            "no photos in the folder", got=str(folder), expected=f"files that end in {', '.join(sorted(_SUFFIXES))}"
        )
    return photos


def photo_key(photo: Path, folder: Path) -> Key:
    """What the captions file knows a photo by."""
    return photo.relative_to(folder).as_posix(), photo.stat().st_size


def read_photo(photo: Path) -> Image.Image | PromptError:
    """An upright RGB photo, or what is wrong with it."""
    try:
        with Image.open(photo) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return PromptError(
            "a photo cannot be read",
            got=f"{photo}: {first_line(error)}",
            fix="replace or remove it, or leave out what is bad with --skip-bad",
        )
