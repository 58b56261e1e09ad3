"""Kill a command at a random moment, run it again, and see whether any byte tells that it was ever killed."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.processes import Command, files_of

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import problems_of

NUM_IMAGES = 8
DRAWING = ("--steps", "4", "--height", "64", "--width", "64", "--batch-size", "1", "--shard-size", "1")


@dataclass(frozen=True)
class Target:
    """A command to kill.

    Attributes:
        words: the command line; ``PROMPTS``, ``DATASET`` and ``OUT`` stand for paths.
        in_place: ``OUT`` is a copy of the dataset, which the command changes.
    """

    words: tuple[str, ...]
    in_place: bool = False

    def line(self, place: Place, out: Path) -> list[str]:
        """The command line for a folder to write."""
        paths = {"PROMPTS": str(place.prompts), "DATASET": str(place.dataset), "OUT": str(out)}
        return [paths.get(word, word) for word in self.words]


_GENERATE = ("generate", "--prompts", "PROMPTS", "--out", "OUT", "--device", "cpu", *DRAWING)
_LABELS = ("--exponent", "1", "--threshold", "0.45", "--uncertainty-threshold", "0.35")
_EXPORT = ("export", "DATASET", "--out", "OUT", "--format")

TARGETS = {
    "generate": Target(_GENERATE),
    "generate on Ray": Target((*_GENERATE, "--executor", "ray", "--num-workers", "2")),
    "relabel": Target(("relabel", "DATASET", "--out", "OUT", "--num-workers", "2", *_LABELS)),
    "relabel in place": Target(("relabel", "OUT", "--num-workers", "2", *_LABELS), in_place=True),
    "relabel on Ray": Target(
        ("relabel", "DATASET", "--out", "OUT", "--executor", "ray", "--num-workers", "2", *_LABELS)
    ),
    "filter": Target(("filter", "DATASET", "--out", "OUT", "--rule", "uncertain <= 0.9")),
    "export voc": Target((*_EXPORT, "voc")),
    "export coco": Target((*_EXPORT, "coco")),
    "export yolo": Target((*_EXPORT, "yolo")),
    "export huggingface": Target((*_EXPORT, "huggingface")),
    "export webdataset": Target((*_EXPORT, "webdataset")),
}


@dataclass(frozen=True)
class Place:
    """The folder of a campaign: the prompts and the dataset that commands read, what they write, what they print."""

    folder: Path

    @property
    def prompts(self) -> Path:
        return self.folder / "prompts.jsonl"

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    def prepare(self) -> None:
        """Make what the commands read; the same call again makes what is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for line in (
            ["prompts", "--num-images", str(NUM_IMAGES), "--out", str(self.prompts)],
            Target(_GENERATE).line(self, self.dataset),
        ):
            run = Command(*line, printed=self.folder / "printed")
            if status := run.wait(seconds=None):
                raise SystemExit(f"{line[0]} ended with {status}: {run.last_line}")


def uninterrupted(place: Place, name: str) -> tuple[dict[str, bytes], float]:
    """The files of a command that nothing stops, and the seconds that it takes."""
    out = _new_folder(place, name)
    run = Command(*TARGETS[name].line(place, out), printed=place.folder / "printed")
    started = time.monotonic()
    if status := run.wait(seconds=None):
        raise RuntimeError(f"status {status}, {run.last_line}")
    return files_of(out), time.monotonic() - started


def kill_once(place: Place, name: str, number: int, whole: dict[str, bytes], seconds: float) -> dict[str, Any]:
    """One round: kill the command at a moment that follows from the round's number, look, and run it again."""
    out = _new_folder(place, name)
    line, printed = TARGETS[name].line(place, out), place.folder / "printed"
    delay = random.Random(number).uniform(0, seconds)
    killed = Command(*line, printed=printed).kill_after(delay)
    left = files_of(out)
    half_written = list(_half_written(out))
    again = Command(*line, printed=printed)
    status = again.wait(seconds=None)
    return {
        "round": number,
        "command": name,
        "seconds": round(delay, 3),
        "killed": killed,
        "files_left": sum(not Path(file).name.startswith(".") for file in left),
        "half_written": half_written,
        "status": status,
        "printed": again.last_line if status else "",
        "same_bytes": files_of(out) == whole,
    }


def _half_written(out: Path) -> Iterator[str]:
    """Shards that have their name and are not whole."""
    if (out / "dataset.json").exists():
        store = DatasetStore.open(out)
        for shard in sorted(set(range(store.manifest.num_shards)).difference(store.missing_shards())):
            yield from problems_of(store, shard)


def _new_folder(place: Place, name: str) -> Path:
    out = place.folder / name.replace(" ", "_")
    shutil.rmtree(out, ignore_errors=True)
    if TARGETS[name].in_place:
        shutil.copytree(place.dataset, out)
    return out
