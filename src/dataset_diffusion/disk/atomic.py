"""Files that are either whole or not there, whatever stops their writer."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dataset_diffusion.disk.places import read_regular
from dataset_diffusion.errors import DatasetDiffusionError, DatasetError

_FIXES = (
    dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room or choose another --out")
    | dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "allow writing there or choose another --out")
    | dict.fromkeys((errno.ENOENT, errno.ESTALE), "look whether the folder was renamed or removed")
)
"""What to do about an error of the operating system, by its number."""


@contextmanager
def explained_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError (full disk, no permission, a file where a folder should be) into a one-line DatasetError."""
    try:
        yield
    except OSError as error:
        fix = f"{_FIXES.get(error.errno or 0, 'choose another --out')}, then run the same command again"
        raise DatasetError(f"cannot write {path}", got=error.strerror or str(error), fix=fix) from error


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``path`` so that it never exists half-written, whatever stops the writer.

    The bytes go to a hidden temporary file beside it, reach the disk, and only then take the name. Of several writers
    of the same file each has its own temporary file, and the file is one writer's whole work.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with explained_write_errors(path):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                sync_file(file)
            temporary.replace(path)
            sync_folder(path.parent)
        except FileNotFoundError:
            # Another writer of the same file finished first and removed this one's temporary file as a leftover.
            if not path.exists():
                raise
        finally:
            temporary.unlink(missing_ok=True)


def sync_file(file: IO[Any]) -> None:
    """Have what was written to an open file reach the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk, as far as its file system can do that."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows, which opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems know no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Have all that was written to the file system of a folder reach the disk: for many files in a tenth of the time.

    Raises:
        OSError: some of it could not be written.
    """
    if not hasattr(os, "sync"):  # Windows
        for path in filter(Path.is_file, folder.rglob("*")):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        return
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # no Linux
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Write a file as `atomic_write` does, in a folder that is made if need be."""
    with explained_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data)


def write_json(path: Path, values: object, *, ensure_ascii: bool = True) -> None:
    """Write JSON as `atomic_write` does, indented for people to read, in a folder that is made if need be.

    What killed writers of it left behind is removed.
    """
    write_file(path, (json.dumps(values, indent=2, ensure_ascii=ensure_ascii) + "\n").encode())
    remove_leftovers(path)


def read_json(path: Path, fix: str, error: Callable[..., DatasetDiffusionError] = DatasetError) -> dict[str, Any]:
    """The JSON object in a file; this kind of error with this fix where it cannot be read or is none."""
    values = read_any_json(path, fix, error)
    if not isinstance(values, dict):
        raise error(f"cannot read {path}", got=type(values).__name__, expected="a JSON object", fix=fix)
    return values


def read_any_json(path: Path, fix: str, error: Callable[..., DatasetDiffusionError] = DatasetError) -> Any:
    """What a JSON file holds, object or not; this kind of error with this fix where it cannot be read."""
    try:
        return json.loads(read_regular(path).decode())
    except (OSError, ValueError, RecursionError) as reason:
        raise error(f"cannot read {path}", got=str(reason), fix=fix) from reason


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of ``path`` left behind. Call it once ``path`` exists: no writer is needed then."""
    remove_files(path.parent.glob(f".{path.name}.*.tmp"))


def find_leftovers(folder: Path) -> dict[Path, list[Path]]:
    """What killed writers left in a folder, by the file it was to become: the same for many files in one listing."""
    found: dict[Path, list[Path]] = {}
    for temporary in folder.glob(".*.*.tmp"):
        name, _, _ = temporary.name[1:].rsplit(".", 2)
        found.setdefault(folder / name, []).append(temporary)
    return found


def clear_leftovers(folder: Path) -> None:
    """Remove what killed writers left in a folder of files that are there by now: no writer of those is needed then."""
    for path, left in find_leftovers(folder).items():
        if path.exists():
            remove_files(left)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files; those that are gone already are no error."""
    for path in paths:
        with explained_write_errors(path):
            path.unlink(missing_ok=True)
