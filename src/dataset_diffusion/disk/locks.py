"""Folders that have one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from dataset_diffusion.disk.atomic import explained_write_errors
from dataset_diffusion.errors import DatasetError

fcntl: Any = None
with contextlib.suppress(ImportError):  # Windows has none
    fcntl = import_module("fcntl")

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
_OURS = b"process "


@contextmanager
def folder_lock(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Be the one writer of a folder, which is made if need be; or one of several that share the work.

    The operating system holds the lock (on ``.lock``; ``flock``, on Windows ``LockFileEx``), so a killed writer leaves
    none behind. File systems without locks give everybody theirs: there it is up to the user that writers do not meet.

    Args:
        folder: the folder: a dataset, a model, an export.
        shared: let other shared writers in, as those of a job array are, each with shards of its own.

    Raises:
        DatasetError: another process writes the folder, it cannot be written, or its ``.lock`` is no lock of ours.
    """
    path = folder / ".lock"
    with explained_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock_file(path, shared)
    try:
        yield
    finally:
        # Only the last of the writers removes the file; to all others it is the lock.
        with contextlib.suppress(OSError):
            _try_lock(descriptor, shared=False)
            path.unlink()
        os.close(descriptor)


def remove_left_lock(folder: Path) -> None:
    """Remove the lock of a writer that was killed when all was written; one that somebody holds stays."""
    if (folder / ".lock").exists():
        with contextlib.suppress(DatasetError), folder_lock(folder):
            pass


def _try_lock(descriptor: int, *, shared: bool) -> None:
    """Lock an open file, or change its lock; a BlockingIOError where another writer's lock does not allow that."""
    if fcntl is not None:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return
    try:
        import portalocker
    except ImportError as error:
        raise OSError(errno.ENOSYS, "no locks") from error
    flags = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    try:
        portalocker.lock(descriptor, flags | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.exceptions.LockException as error:
        raise BlockingIOError(errno.EAGAIN, "locked") from error


def _begin(descriptor: int, length: int) -> bytes:
    """The first bytes of an open file, as far as its lock lets them be read."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, length)
    except OSError:  # of another process, on Windows
        return b""


def _lock_file(path: Path, shared: bool) -> int:
    """The descriptor of a locked file; closing it gives the lock back."""
    while True:
        descriptor = _open(path)
        try:
            _try_lock(descriptor, shared=shared)
            if _is_file(path, descriptor):  # and not one that its last writer removed in between
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _OURS + f"{os.getpid()} on {platform.node()}".encode())
                return descriptor
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            writer = _begin(descriptor, 200).decode(errors="replace")
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    begin = _begin(descriptor, len(_OURS))
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
