"""Folders that have one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataset_diffusion.disk.atomic import explained_write_errors
from dataset_diffusion.errors import DatasetError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
_OURS = b"process "


@contextmanager
def folder_lock(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Be the one writer of a folder, which is made if need be; or one of several that share the work.

    The operating system holds the lock (``flock`` on ``.lock``), so a killed writer leaves none behind. File systems
    without locks give everybody theirs: there it is up to the user that writers do not meet.

    Args:
        folder: the folder: a dataset, a model, an export.
        shared: let other shared writers in, as those of a job array are, each with shards of its own.

    Raises:
        DatasetError: another process writes the folder, it cannot be written, or its ``.lock`` is no lock of ours.
    """
    path = folder / ".lock"
    with explained_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock_file(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        # Only the last of the writers removes the file; to all others it is the lock.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        os.close(descriptor)


def remove_left_lock(folder: Path) -> None:
    """Remove the lock of a writer that was killed when all was written; one that somebody holds stays."""
    if (folder / ".lock").exists():
        with contextlib.suppress(DatasetError), folder_lock(folder):
            pass


def _lock_file(path: Path, kind: int) -> int:
    """The descriptor of a locked file; closing it gives the lock back."""
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _is_file(path, descriptor):  # and not one that its last writer removed in between
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _OURS + f"{os.getpid()} on {platform.node()}".encode())
                return descriptor
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            writer = os.pread(descriptor, 200, 0).decode(errors="replace")
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise DatasetError(
                    f"{path.parent} is being written",
                    got=f"{writer or 'another process'} at work",
                    expected="one writer at a time",
                    fix="wait until it has finished, or stop it",
                ) from error
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open a lock, made if need be. What is no lock of ours is refused, since a lock is emptied and removed."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _not_ours(path, "a link" if path.is_symlink() else "no file")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    begin = os.pread(descriptor, len(_OURS), 0)
    if not _OURS.startswith(begin) or os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise _not_ours(path, "a file of something else")
    return descriptor


def _not_ours(path: Path, got: str) -> DatasetError:
    return DatasetError(
        f"{path} is no lock of this program", got=got, expected="a file that it wrote", fix="remove or rename it"
    )


def _is_file(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
