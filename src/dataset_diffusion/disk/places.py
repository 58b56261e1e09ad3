"""Where things are kept: folders of this machine, and URLs of any storage that fsspec knows."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from upath import UPath

from dataset_diffusion.errors import DatasetError

Location: TypeAlias = Path | UPath
"""A local path, or one of any storage that fsspec knows."""


def locate(path: str | Location) -> Location:
    """A local path as it is, a URL (``s3://…``) as a path of its storage."""
    if isinstance(path, UPath):
        return path
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
