"""What happens to disks, folders and files: each is done on purpose, and must end in one line or in nothing lost."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.killing import TARGETS, Place
from tests.helpers.processes import Command, files_of

from dataset_diffusion.disk.locks import folder_lock


def full_disk(place: Place) -> Iterator[str]:
    """The disk is full halfway through."""
    size = sum(map(len, files_of(place.dataset).values()))
    with _small_disk(place, size // 2) as disk:
        yield _refuse(place, TARGETS["generate"].line(place, disk / "dataset"))
        _mount("remount", f"size={10 * size}", str(disk))
        _finish(place, disk / "dataset")


def read_only_folder(place: Place) -> Iterator[str]:
    """The folder becomes read-only halfway through."""
    with _small_disk(place, 2**24) as disk:
        shutil.copytree(place.dataset, disk / "dataset")
        (disk / "dataset" / "shards" / "00003.parquet").unlink()
        _mount("remount", "ro", str(disk))
        yield _refuse(place, TARGETS["generate"].line(place, disk / "dataset"))
        _mount("remount", "rw", str(disk))
        _finish(place, disk / "dataset")


def truncated_shard(place: Place) -> Iterator[str]:
    """A shard has lost its end."""
    yield from _damage_and_repair(place, lambda data: data[: len(data) // 2])


def flipped_byte(place: Place) -> Iterator[str]:
    """One byte of a shard has changed."""
    yield from _damage_and_repair(place, lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:])


def missing_shard(place: Place) -> Iterator[str]:
    """A shard is gone."""
    yield from _damage_and_repair(place, None)


def old_schema_version(place: Place) -> Iterator[str]:
    """The dataset was written by another version of this package."""
    out = _copy(place)
    manifest = json.loads((out / "dataset.json").read_text()) | {"schema_version": 0}
    (out / "dataset.json").write_text(json.dumps(manifest))
    for command in (["verify", str(out)], ["relabel", str(out)], TARGETS["generate"].line(place, out)):
        yield _refuse(place, command)


def two_writers(place: Place) -> Iterator[str]:
    """A second process is told to write the dataset that a first one is writing."""
    out = place.folder / "mishap"
    shutil.rmtree(out, ignore_errors=True)
    with folder_lock(out):
        yield _refuse(place, TARGETS["generate"].line(place, out))
    first = Command(*TARGETS["generate"].line(place, out), printed=place.folder / "first")
    while first.is_running and not (out / ".lock").exists():
        time.sleep(0.01)
    yield _refuse(place, ["relabel", str(out)])
    _expect(first.wait(seconds=None) == 0, first.last_line)
    _finish(place, out)


MISHAPS: dict[str, Callable[[Place], Iterator[str]]] = {
    "full disk": full_disk,
    "read-only folder": read_only_folder,
    "truncated shard": truncated_shard,
    "flipped byte": flipped_byte,
    "missing shard": missing_shard,
    "old schema version": old_schema_version,
    "two writers": two_writers,
}


def happen(place: Place, name: str) -> dict[str, Any]:
    """One mishap: what the commands said, and what was not as it should be."""
    said: list[str] = []
    try:
        said.extend(_shown(place, line) for line in MISHAPS[name](place))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        return {"mishap": name, "said": said, "wrong": str(error)}
    return {"mishap": name, "said": said, "wrong": ""}


def _damage_and_repair(place: Place, damage: Callable[[bytes], bytes] | None) -> Iterator[str]:
    out = _copy(place)
    shard = out / "shards" / "00002.parquet"
    if damage is None:
        shard.unlink()
    else:
        shard.write_bytes(damage(shard.read_bytes()))
    yield from _refused(place, ["verify", str(out)]).lines[1:]  # the first is the progress
    run = Command(*["verify", str(out), "--repair", "--prompts", str(place.prompts)], printed=place.folder / "printed")
    _expect(run.wait(seconds=None) == 0, run.last_line)
    _expect(files_of(out) == files_of(place.dataset), "the repaired bytes are others")


def _finish(place: Place, out: Path) -> None:
    run = Command(*TARGETS["generate"].line(place, out), printed=place.folder / "printed")
    _expect(run.wait(seconds=None) == 0, run.last_line)
    _expect(files_of(out) == files_of(place.dataset), "the final bytes are others")


def _refuse(place: Place, line: list[str]) -> str:
    """The line that a command is refused with."""
    return _refused(place, line).last_line


def _refused(place: Place, line: list[str]) -> Command:
    run = Command(*line, printed=place.folder / "printed")
    _expect(run.wait(seconds=None) == 2, f"{line[0]} was not refused: {run.last_line}")
    return run


def _expect(happened: bool, otherwise: str) -> None:
    if not happened:
        raise RuntimeError(otherwise)


def _copy(place: Place) -> Path:
    out = place.folder / "mishap"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(place.dataset, out)
    return out


def _shown(place: Place, line: str) -> str:
    return line.replace(f"{place.folder}/", "")


@contextlib.contextmanager
def _small_disk(place: Place, size: int) -> Iterator[Path]:
    """A file system of so many bytes in memory. Only root may mount one."""
    folder = place.folder / "disk"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _mount(*words: str) -> None:
    *options, folder = words
    subprocess.run(["mount", "-o", ",".join(options), folder], check=True)
