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
        words: the command line; what stands in capitals in it is a path, see `line`.
        in_place: ``OUT`` is a copy of the dataset, which the command changes.
        lost: numbers of shards that this copy lacks.
    """

    words: tuple[str, ...]
    in_place: bool = False
    lost: tuple[int, ...] = ()

    def line(self, place: Place, out: Path) -> list[str]:
        """The command line for a folder to write."""
        paths = {
            "PROMPTS": place.prompts,
            "DATASET": place.dataset,
            "MODEL": place.model,
            "PHOTOS": place.photos / "images",
            "RECIPE": place.recipe,
            "OUT": out,
        }
        return [_in_place_of_capitals(word, paths) for word in self.words]


def _in_place_of_capitals(word: str, paths: dict[str, Path]) -> str:
    first, slash, rest = word.partition("/")
    return f"{paths[first]}{slash}{rest}" if first in paths else word


_CPU = ("--device", "cpu")
_GENERATE = ("generate", "--prompts", "PROMPTS", "--out", "OUT", *_CPU, *DRAWING)
_SAVED = ("--save-predictions", "OUT/predictions")
_TRAINING = ("--iterations", "6", "--batch-size", "2", *_CPU)
_LABELS = ("--exponent", "1", "--threshold", "0.45", "--uncertainty-threshold", "0.35")
_EXPORT = ("export", "DATASET", "--out", "OUT", "--format")

_RECIPE = """\
[prompts]
num_images = {images}
[generate]
steps = 4
height = 64
width = 64
batch_size = 1
shard_size = 1
device = "cpu"
[filter]
rules = ["uncertain <= 0.9"]
[train]
iterations = 6
batch_size = 2
[evaluate]
benchmark = "{benchmark}"
"""

TARGETS = {
    "prompts": Target(("prompts", "--num-images", "3000", "--out", "OUT/prompts.jsonl")),
    "generate": Target(_GENERATE),
    "generate on Ray": Target((*_GENERATE, "--executor", "ray", "--num-workers", "2")),
    "relabel": Target(("relabel", "DATASET", "--out", "OUT", "--num-workers", "2", *_LABELS)),
    "relabel in place": Target(("relabel", "OUT", "--num-workers", "2", *_LABELS), in_place=True),
    "relabel on Ray": Target(
        ("relabel", "DATASET", "--out", "OUT", "--executor", "ray", "--num-workers", "2", *_LABELS)
    ),
    "filter": Target(("filter", "DATASET", "--out", "OUT", "--rule", "uncertain <= 0.9")),
    "annotate": Target(("annotate", "PHOTOS", "--out", "OUT", "--batch-size", "1", "--shard-size", "1", *_CPU)),
    "calibrate": Target(
        ("calibrate", "DATASET", "--out", "OUT/reading.json", "--timesteps", "1", "--refine", "none", *_CPU)
    ),
    "train": Target(("train", "DATASET", "--out", "OUT", "--self-training", "1", *_TRAINING)),
    "evaluate": Target((*("evaluate", "MODEL", "--benchmark", "DATASET", "--out", "OUT/results.json"), *_SAVED, *_CPU)),
    "report": Target(("report", "OUT"), in_place=True),
    "verify --repair": Target(("verify", "OUT", "--repair", "--prompts", "PROMPTS"), in_place=True, lost=(1, 2, 5, 7)),
    "run": Target(("run", "RECIPE", "--out", "OUT")),
    "export png": Target((*_EXPORT, "png")),
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

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.toml"

    def prepare(self) -> None:
        """Make what the commands read; the same call again makes what is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.recipe.write_text(_RECIPE.format(benchmark=self.dataset, images=NUM_IMAGES))
        for line in (
            ["prompts", "--num-images", str(NUM_IMAGES), "--out", str(self.prompts)],
            Target(_GENERATE).line(self, self.dataset),
            Target(("train", "DATASET", "--out", "OUT", *_TRAINING)).line(self, self.model),
            Target((*_EXPORT, "png")).line(self, self.photos),
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
        for shard in store.present_shards():
            yield from problems_of(store, shard)


def _new_folder(place: Place, name: str) -> Path:
    out = place.folder / name.replace(" ", "_")
    shutil.rmtree(out, ignore_errors=True)
    if TARGETS[name].in_place:
        shutil.copytree(place.dataset, out)
        for shard in TARGETS[name].lost:
            DatasetStore.open(out).shard_path(shard).unlink()
    return out
