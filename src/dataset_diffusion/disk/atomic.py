"""Files that are either whole or not there, whatever stops their writer."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataset_diffusion.errors import DatasetDiffusionError, DatasetError


@contextmanager
def explained_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError (full disk, no permission, a file where a folder should be) into a one-line DatasetError."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"cannot write {path}",
            got=error.strerror or str(error),
            fix="make room or choose another --out, then run the same command again",
        ) from error


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
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except FileNotFoundError:
            # Another writer of the same file finished first and removed this one's temporary file as a leftover.
            if not path.exists():
                raise
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, values: object, *, ensure_ascii: bool = True) -> None:
    """Write JSON as `atomic_write` does, indented for people to read, in a folder that is made if need be."""
    with explained_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, (json.dumps(values, indent=2, ensure_ascii=ensure_ascii) + "\n").encode())


def read_json(path: Path, fix: str, error: Callable[..., DatasetDiffusionError] = DatasetError) -> Any:
    """What a JSON file holds; this kind of error with this fix where it cannot be read or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
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
