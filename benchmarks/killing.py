"""Kill a command at a random moment, run it again, and see whether any byte tells that it was ever killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_diffusion.__main__ import main
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import problems_of

# A server that has imported everything, so that a command starts at once and a random moment falls into its work.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["dataset_diffusion.stages.run", "dataset_diffusion.diffusion.families.unet"])

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
            run = Run(line, self.folder / "printed")
            if status := run.wait():
                raise SystemExit(f"{line[0]} ended with {status}: {run.printed}")


class Run:
    """A command in a process of its own.

    Args:
        line: the command line.
        printed: file that takes what it prints.
    """

    def __init__(self, line: list[str], printed: Path) -> None:
        self._printed = printed
        self._process = _processes.Process(target=_run, args=(line, printed))
        self._process.start()

    @property
    def lines(self) -> list[str]:
        """What the command printed."""
        return self._printed.read_text().splitlines()

    @property
    def printed(self) -> str:
        """The last line of it."""
        return self.lines[-1] if self.lines else ""

    @property
    def is_running(self) -> bool:
        return self._process.exitcode is None

    def kill_after(self, seconds: float) -> bool:
        """Kill the command if it runs for so long; whether it did."""
        self._process.join(seconds)
        if not self.is_running:
            return False
        os.kill(self._process.pid or 0, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def wait(self) -> int:
        """Exit status; the negative number of the signal that killed it."""
        self._process.join()
        return self._process.exitcode or 0


def _run(line: list[str], printed: Path) -> None:
    with printed.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(line)


def uninterrupted(place: Place, name: str) -> tuple[dict[str, bytes], float]:
    """The files of a command that nothing stops, and the seconds that it takes."""
    out = _new_folder(place, name)
    run = Run(TARGETS[name].line(place, out), place.folder / "printed")
    started = time.monotonic()
    if status := run.wait():
        raise RuntimeError(f"status {status}, {run.printed}")
    return files_of(out), time.monotonic() - started


def kill_once(place: Place, name: str, number: int, whole: dict[str, bytes], seconds: float) -> dict[str, Any]:
    """One round: kill the command at a moment that follows from the round's number, look, and run it again."""
    out = _new_folder(place, name)
    line, printed = TARGETS[name].line(place, out), place.folder / "printed"
    delay = random.Random(number).uniform(0, seconds)
    killed = Run(line, printed).kill_after(delay)
    left = files_of(out)
    half_written = list(_half_written(out))
    again = Run(line, printed)
    status = again.wait()
    return {
        "round": number,
        "command": name,
        "seconds": round(delay, 3),
        "killed": killed,
        "files_left": sum(not Path(file).name.startswith(".") for file in left),
        "half_written": half_written,
        "status": status,
        "printed": again.printed if status else "",
        "same_bytes": files_of(out) == whole,
    }


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


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
