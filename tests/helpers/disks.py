"""What of a folder a power cut would leave: an account of what was synced, kept while the real calls happen."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dataset_diffusion.dataset.exports import driver


class Disk:
    """Follows what was written below a folder to the disk.

    Args:
        patch: puts recorders around the calls that sync and rename.
        root: the folder.
        is_record: whether a file, by its path, says that others are there.
    """

    def __init__(self, patch: pytest.MonkeyPatch, root: Path, is_record: Callable[[Path], bool]) -> None:
        self._root, self._is_record = root, is_record
        self._synced: dict[Path, bytes] = {}
        self.records: list[Path] = []
        self.early: dict[Path, list[str]] = {}
        fsync, replace, sync_all = os.fsync, os.replace, driver.sync_file_system

        def sync_one(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.is_file():
                self._synced[path] = path.read_bytes()

        def rename(source: str | Path, target: str | Path) -> None:
            self._note(Path(source), Path(target))
            replace(source, target)

        def sync_everything(folder: Path) -> None:
            sync_all(folder)
            self._synced |= {path: path.read_bytes() for path in self._files()}

        patch.setattr(os, "fsync", sync_one)
        patch.setattr(os, "replace", rename)
        patch.setattr(driver, "sync_file_system", sync_everything)

    def take_for_synced(self, path: Path) -> None:
        """A file that was there before."""
        self._synced[path] = path.read_bytes()

    def _files(self) -> list[Path]:
        return [path for path in self._root.rglob("*") if path.is_file() and path.name != ".lock"]

    def _note(self, source: Path, target: Path) -> None:
        """A file takes its name: if it is a record, what is not on the disk by now is told as there and may be lost."""
        if self._root in target.parents and self._is_record(target):
            self.records.append(target)
            lost = [path for path in self._files() if self._synced.get(path) != path.read_bytes()]
            if lost:
                self.early[target] = sorted(target.name if path == source else path.name for path in lost)
        for path in [path for path in self._synced if source in (path, *path.parents)]:
            self._synced[target / path.relative_to(source)] = self._synced.pop(path)
