"""Ctrl-C ends every command with status 130 and one line and leaves nothing half-done; the same command resumes.

Those of `generate` and `train` are in `test_resume.py`, Ray's in `test_ray.py`.
"""

import signal

import numpy as np
import pytest
from PIL import Image
from tests.helpers.factories import FORKLIFTS, make_heatmaps, make_sample, write_dataset
from tests.helpers.processes import Command, files_of, succeed

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.dataset.schema import sample_name
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.evaluation.readers.scenes import SCENES
from dataset_diffusion.segmentation.model_folder import Identity, save_segmenter
from dataset_diffusion.segmentation.models import build_segmenter

pytestmark = pytest.mark.slow

SAID = "interrupted: the same command resumes"
ON_CPU = ("--device", "cpu")
LEARNING = ("--num-images", 8, "--timesteps", 1, "--refine", "none", *ON_CPU)
LABELS = ("--exponent", 4, "--threshold", 0.7, "--refine", "pamr")
RELABEL = ("relabel", "DATASET", "--out", "OUT", *LABELS)
MANY = ("relabel", "MANY", "--out", "OUT", *LABELS)

RECIPE = """
[prompts]
num_images = 2
[generate]
steps = 1
height = 32
width = 32
shard_size = 1
device = "cpu"
[train]
iterations = 1
batch_size = 2
[evaluate]
benchmark = "none"
"""

COMMANDS = {
    "prompts": (("prompts", "--num-images", 50, "--out", "OUT/prompts.jsonl"), 0),
    "annotate": (("annotate", "PHOTOS", "--out", "OUT", "--batch-size", 1, "--shard-size", 1, *ON_CPU), 4),
    "relabel": ((*RELABEL, "--num-workers", 1), 6),
    "filter": (("filter", "DATASET", "--out", "OUT", "--rule", "uncertain <= 1"), 6),
    "export": (("export", "DATASET", "--out", "OUT", "--format", "png"), 6),
    "import-labels": (("import-labels", "DATASET", "CORRECTED", "--out", "OUT"), 6),
    "calibrate": (
        ("calibrate", "SCENES", "--model", "embedded", "--out", "OUT/reading.json", *LEARNING),
        4,
    ),
    "evaluate": (
        (
            "evaluate",
            "MODEL",
            "--benchmark",
            "DATASET",
            "--out",
            "OUT/r.json",
            "--save-predictions",
            "OUT/all",
            *ON_CPU,
        ),
        2,
    ),
    "predict": (("predict", "MODEL", "PHOTOS", "--out", "OUT", *ON_CPU), 3),
    "run": (("run", "RECIPE", "--out", "OUT"), 6),
}
"""Command lines, capitals standing for paths, and how many files they open before Ctrl-C comes."""

LONG = ("annotate", "calibrate", "run")
"""Those whose resumption their own tests and `make faults` have."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """What commands read."""
    folder = tmp_path_factory.mktemp("interrupts")

    def sample(index):
        scores = {"uncertain": 0.1, "presence": 0.5, "presence.1": 0.5}
        return make_sample(index, size=(96, 96), heatmaps=make_heatmaps(index, size=(24, 24)), quality=scores)

    write_dataset(folder / "dataset", sample, num_samples=8, shard_size=1)
    write_dataset(folder / "many", sample, num_samples=40, shard_size=1)
    settings = TrainSettings()
    segmenter = build_segmenter(settings.segmenter, len(FORKLIFTS.label_ids))
    (folder / "model").mkdir()
    save_segmenter(segmenter, Identity(FORKLIFTS, settings, 0, 1, ""), folder / "model")
    scenes = DatasetStore.open(SCENES)
    write_dataset(folder / "scenes", [scenes[index] for index in range(8)], scenes.class_set, shard_size=8)
    for name in ("photos", "corrected"):
        (folder / name).mkdir()
    for index in range(3):
        Image.fromarray(np.roll(sample(index).image, index)).save(folder / "photos" / f"{index}.png")
        Image.fromarray(np.full((96, 96), index % 2, np.uint8)).save(folder / "corrected" / f"{sample_name(index)}.png")
    (folder / "recipe.toml").write_text(RECIPE)
    names = ("dataset", "many", "model", "scenes", "photos", "corrected")
    return {"RECIPE": folder / "recipe.toml"} | {name.upper(): folder / name for name in names}


def line_of(words, paths, out):
    def path_of(word):
        first, slash, rest = str(word).partition("/")
        return f"{(paths | {'OUT': out})[first]}{slash}{rest}" if first in {*paths, "OUT"} else word

    return [path_of(word) for word in words]


def temporary_files(folder):
    return [path for path in folder.rglob(".*") if path.name.endswith(".tmp")]


def stop(name, paths, out):
    """Have Ctrl-C come to a command, and see how it ends."""
    words, opened = COMMANDS[name]
    printed = out.with_name("printed")
    stopped = Command(*line_of(words, paths, out), printed=printed, interrupted=(out, opened))
    assert stopped.wait() == 130, stopped.lines
    assert stopped.last_line == SAID
    assert not [line for line in stopped.lines if "Traceback" in line]
    assert not temporary_files(out)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in LONG])
def test_ctrl_c_is_a_stop_and_the_same_command_resumes(name, paths, tmp_path):
    out = tmp_path / "out"
    stop(name, paths, out)
    stopped_with = files_of(out)
    succeed(*line_of(COMMANDS[name][0], paths, out))
    succeed(*line_of(COMMANDS[name][0], paths, tmp_path / "whole"))
    assert files_of(out) == files_of(tmp_path / "whole")
    assert files_of(out) != stopped_with


@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_is_a_stop_of_commands_that_take_long(name, paths, tmp_path):
    stop(name, paths, tmp_path / "out")


def test_ctrl_c_ends_a_command_and_its_worker_processes(paths, tmp_path):
    out = tmp_path / "out"
    stopped = Command(*line_of((*MANY, "--num-workers", 2), paths, out), printed=tmp_path / "printed")
    stopped.wait_until((out / "shards" / "00000.parquet").exists)
    stopped.send(signal.SIGINT)
    assert stopped.wait() == 130
    assert stopped.last_line == SAID
    assert not temporary_files(out)
    for folder in (out, tmp_path / "whole"):
        succeed(*line_of((*MANY, "--num-workers", 1), paths, folder))
    assert files_of(out) == files_of(tmp_path / "whole")


def test_ctrl_c_while_a_dataset_is_verified(paths, tmp_path):
    stopped = Command("verify", paths["MANY"], "--num-workers", 2, printed=tmp_path / "printed")
    stopped.wait_until(lambda: any("Check every picture" in line for line in stopped.lines))
    stopped.send(signal.SIGINT)
    assert stopped.wait() in {0, 130}  # it may have been done by then


def test_ctrl_c_while_a_page_is_written_leaves_the_old_one(tmp_path):
    store = write_dataset(tmp_path / "dataset", [make_sample(0)])
    succeed("report", store.path)
    old = files_of(store.path)["report.html"]
    store.shard_path(0).rename(store.shard_path(0).with_name("away"))
    stopped = Command("report", store.path, printed=tmp_path / "printed", interrupted=(store.path / ".report", 0))
    assert stopped.wait() == 130, stopped.lines
    assert files_of(store.path)["report.html"] == old
    assert not temporary_files(store.path)
    succeed("report", store.path)
    assert files_of(store.path)["report.html"] != old


def test_ctrl_c_ends_the_studio(paths, tmp_path):
    decisions = tmp_path / "decisions"
    studio = Command("studio", paths["DATASET"], "--decisions", decisions, printed=tmp_path / "printed")
    studio.wait_until(lambda: "http" in studio.last_line)
    studio.send(signal.SIGINT)
    assert studio.wait() == 130
    assert not decisions.exists()
