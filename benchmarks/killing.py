"""Kill a command at random moments, start it again each time, and see whether any byte tells that it was ever killed."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
from benchmarks.deciding import decide
from tests.helpers.processes import Command, files_of

from dataset_diffusion.dataset.exports.table import EXPORTS
from dataset_diffusion.dataset.schema import encode_label, sample_name
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import problems_of

NUM_IMAGES = 8
MOST_KILLS = 5  # in one round

# Commands are forked from a server that has imported what they import, so that their time is that of their work.
get_context("forkserver").set_forkserver_preload(
    [
        "benchmarks.faults",
        "dataset_diffusion.parser",
        "dataset_diffusion.stages.run",
        "dataset_diffusion.stages.annotate",
        "dataset_diffusion.stages.export",
        "dataset_diffusion.stages.import_labels",
        "dataset_diffusion.stages.predict",
        "dataset_diffusion.stages.studio",
        "dataset_diffusion.stages.verify",
        "dataset_diffusion.diffusion.families.unet",
        "lightning.pytorch",
    ]
)
DRAWING = ("--steps", "2", "--height", "64", "--width", "64", "--batch-size", "1", "--shard-size", "1")


@dataclass(frozen=True)
class Target:
    """A command to kill.

    Attributes:
        words: the command line; what stands in capitals in it is a path, see `line`.
        in_place: ``OUT`` is a copy of the dataset, which the command changes.
        lost: numbers of shards that this copy lacks.
        decided: the command serves the studio, in which decisions are made until it is told to stop.
    """

    words: tuple[str, ...]
    in_place: bool = False
    lost: tuple[int, ...] = ()
    decided: bool = False

    def start(self, place: Place, out: Path) -> Command:
        """The command in a process of its own, which writes a folder."""
        printed = place.folder / "printed"
        printed.unlink(missing_ok=True)
        run = Command(*self.line(place, out), printed=printed)
        if self.decided:
            decide(run, NUM_IMAGES)
        return run

    @property
    def status(self) -> int:
        """That a run ends with which nothing kills."""
        return 130 if self.decided else 0

    def line(self, place: Place, out: Path) -> list[str]:
        """The command line for a folder to write."""
        paths = {
            "PROMPTS": place.prompts,
            "DATASET": place.dataset,
            "MODEL": place.model,
            "PHOTOS": place.photos / "images",
            "CORRECTED": place.corrected,
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
_TRAINING = ("--iterations", "4", "--batch-size", "2", *_CPU)
_LABELS = ("--exponent", "1", "--threshold", "0.45", "--uncertainty-threshold", "0.35")
_RELABEL = ("relabel", "DATASET", "--out", "OUT", *_LABELS)
_EXPORT = ("export", "DATASET", "--out", "OUT", "--format")

_RECIPE = """\
[prompts]
num_images = {images}
[generate]
steps = 2
height = 64
width = 64
batch_size = 1
shard_size = 1
device = "cpu"
[filter]
rules = ["uncertain <= 0.9"]
[train]
iterations = 4
batch_size = 2
[evaluate]
benchmark = "{benchmark}"
"""

TARGETS = {
    "prompts": Target(("prompts", "--num-images", "3000", "--out", "OUT/prompts.jsonl")),
    "generate": Target(_GENERATE),
    "generate on Ray": Target((*_GENERATE, "--executor", "ray", "--num-workers", "2")),
    "relabel": Target((*_RELABEL, "--num-workers", "1")),
    "relabel in place": Target(("relabel", "OUT", "--num-workers", "1", *_LABELS), in_place=True),
    "relabel in processes": Target((*_RELABEL, "--num-workers", "2")),
    "relabel on Ray": Target((*_RELABEL, "--executor", "ray", "--num-workers", "2")),
    "filter": Target(("filter", "DATASET", "--out", "OUT", "--rule", "uncertain <= 0.9")),
    "annotate": Target(("annotate", "PHOTOS", "--out", "OUT", "--batch-size", "1", "--shard-size", "1", *_CPU)),
    "calibrate": Target(
        ("calibrate", "DATASET", "--out", "OUT/reading.json", "--timesteps", "1", "--refine", "none", *_CPU)
    ),
    "train": Target(("train", "DATASET", "--out", "OUT", "--self-training", "1", *_TRAINING)),
    "evaluate": Target((*("evaluate", "MODEL", "--benchmark", "DATASET", "--out", "OUT/results.json"), *_SAVED, *_CPU)),
    "predict": Target(("predict", "MODEL", "PHOTOS", "--out", "OUT", *_CPU)),
    "import-labels": Target(("import-labels", "DATASET", "CORRECTED", "--out", "OUT")),
    "studio": Target(("studio", "DATASET", "--decisions", "OUT"), decided=True),
    "report": Target(("report", "OUT"), in_place=True),
    "verify --repair": Target(("verify", "OUT", "--repair", "--prompts", "PROMPTS"), in_place=True, lost=(1, 2, 5, 7)),
    "run": Target(("run", "RECIPE", "--out", "OUT")),
    **{f"export {name}": Target((*_EXPORT, name)) for name in EXPORTS},
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
    def corrected(self) -> Path:
        return self.folder / "corrected"

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
        self.correct()

    def correct(self) -> None:
        """Label maps for every second sample, those of the dataset mirrored."""
        store = DatasetStore.open(self.dataset)
        self.corrected.mkdir(exist_ok=True)
        for index in range(0, NUM_IMAGES, 2):
            data = encode_label(np.fliplr(store.label(index)), store.class_set)
            (self.corrected / f"{sample_name(index)}.png").write_bytes(data)


def uninterrupted(place: Place, name: str) -> tuple[dict[str, bytes], float]:
    """The files of a command that nothing stops, and the processor time (s) that it takes."""
    out = _new_folder(place, name)
    run = TARGETS[name].start(place, out)
    work = _work_until(run)
    if run.wait() != TARGETS[name].status:
        raise RuntimeError(f"status {run.wait()}, {run.last_line}")
    return files_of(out), work


def kill_in_a_round(place: Place, name: str, number: int, whole: dict[str, bytes], work: float) -> dict[str, Any]:
    """Kill the command again and again at moments that follow from the round's number, look each time, let it finish.

    The moments are shares of the processor time of a whole run, so that a busy machine does not shift them.
    """
    out = _new_folder(place, name)
    moments = random.Random(f"{name} {number}")
    kills: list[dict[str, Any]] = []
    while True:
        run = TARGETS[name].start(place, out)
        moment = moments.uniform(0, work) if len(kills) < MOST_KILLS else float("inf")
        _work_until(run, moment)
        if run.wait(seconds=None) != -SIGKILL:
            break
        left = sum(not Path(file).name.startswith(".") for file in files_of(out))
        kills.append({"share": round(moment / work, 3), "files_left": left, "half_written": list(_half_written(out))})
    files = files_of(out)
    differing = sorted(file for file in {*files, *whole} if files.get(file) != whole.get(file))
    status = run.wait()
    if differing or status != TARGETS[name].status:
        shutil.copytree(out, place.folder / f"wrong-{number}", dirs_exist_ok=True)
    return {
        "round": number,
        "command": name,
        "kills": kills,
        "ended": status == TARGETS[name].status,
        "printed": "" if status == TARGETS[name].status else run.last_line,
        "differing": differing,
    }


def _work_until(run: Command, most: float = float("inf")) -> float:
    """Wait until a command has ended, and kill it if it takes so much processor time (s); how much it took."""
    done = 0.0
    while run.is_running:
        done = max(done, _processor_seconds(run.process_id))
        if done >= most:
            run.send(SIGKILL)
            break
        time.sleep(0.003)
    return done


def _processor_seconds(process: int) -> float:
    """Processor time of a process and of those that it started and that are still there."""
    seconds = 0.0
    with suppress(OSError, ProcessLookupError):
        seconds += time.clock_gettime(~process << 3 | 2)  # Linux's number for the clock of a process
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            seconds += sum(_processor_seconds(int(child)) for child in children.read_text().split())
    return seconds


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
