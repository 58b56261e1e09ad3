"""Where things are kept: folders of this machine, and URLs of any storage that fsspec knows."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from upath import UPath

from dataset_diffusion.errors import DatasetError, check_kind

Location: TypeAlias = Path | UPath
"""A local path, or one of any storage that fsspec knows."""

MAX_NAME_BYTES = 230
"""Of a name that becomes a file's; most file systems take 255, temporary files and suffixes need some."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def locate(path: str | Location) -> Location:
    """A local path as it is, a URL (``s3://…``) as a path of its storage."""
    if isinstance(path, UPath):
        return path
    check_kind(path, (str, Path), "place of a dataset", error=DatasetError)
    if "://" not in str(path):
        return Path(path)
    try:
        remote = UPath(path)
        _ = remote.fs  # loads what the storage needs
    except (ImportError, ValueError) as error:
        raise DatasetError(
            "cannot read from this storage", got=f"{path} ({error})", expected="an URL of fsspec"
        ) from error
    return remote


def local_folder(path: str | Location) -> Path:
    """A folder to be written to; a DatasetError where it is in another storage than this machine's."""
    folder = locate(path)
    if not isinstance(folder, Path):
        raise DatasetError(
            "datasets are written to local folders", got=str(path), fix="copy them when they are finished"
        )
    return folder


def read_regular(path: Location) -> bytes:
    """The bytes of a file; an OSError where it is none, such as a pipe, whose reader would wait for ever."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    data: bytes = path.read_bytes()
    return data


def below(folder: Path, name: str) -> Path:
    """Where a name that was read from a file stands below a folder; it may name folders in it.

    Raises:
        DatasetError: the name leaves the folder, or cannot name a file.
    """
    parts = name.split("/")
    if PurePosixPath(name).is_absolute() or ".." in parts:
        raise DatasetError("a name leaves its folder", got=repr(name), expected=f"a name below {folder}")
    try:
        longest = max(len(os.fsencode(part)) for part in parts)
    except UnicodeEncodeError:
        longest = 0
    if not longest or _CONTROL.search(name) or set(parts) & {"", "."}:
        raise DatasetError(
            "a name that cannot name a file", got=ascii(name), expected="no control characters and no empty part"
        )
    if longest > MAX_NAME_BYTES:
        raise DatasetError("a name is too long", got=f"{longest} bytes: {name}", expected=f"at most {MAX_NAME_BYTES}")
    return folder / name
