"""One small job, done once for all tests that look at its result, and a place full of things to get wrong."""

import json
import os
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import huggingface_hub
import pytest
from PIL import Image
from tests.helpers.factories import fill
from tests.helpers.processes import Outcome, refuse, run_command, times_of

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.prompts.class_sets import class_set


@dataclass(frozen=True)
class Job:
    """A small run made by single commands, and the outcome of each command."""

    folder: Path
    commands: dict[str, tuple[object, ...]]
    outcomes: dict[str, Outcome]

    @property
    def prompts(self) -> Path:
        return self.folder / "prompts.jsonl"

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def model(self) -> Path:
        return self.folder / "model"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """Six of the held-out scenes, as a dataset of their own."""
    source = DatasetStore.open(files("dataset_diffusion") / "assets" / "scenes")
    folder = tmp_path_factory.mktemp("scenes")
    manifest = source.manifest.model_copy(update={"num_samples": 6, "shard_size": 6})
    fill(DatasetWriter.create(folder, manifest), source)
    return folder


@pytest.fixture(scope="session")
def job(tmp_path_factory, scenes) -> Job:
    """Class names in, report out, one command after another: six images of two steps, six steps of training."""
    folder = tmp_path_factory.mktemp("job")
    prompts, dataset, model = folder / "prompts.jsonl", folder / "dataset", folder / "model"
    drawing = ("--steps", 2, "--batch-size", 2, "--shard-size", 3, "--device", "cpu")
    commands = {
        "prompts": ("prompts", "--classes", "emoji", "--num-images", 6, "--out", prompts),
        "generate": ("generate", "--prompts", prompts, "--out", dataset, *drawing),
        "verify": ("verify", dataset),
        "train": ("train", dataset, "--out", model, "--iterations", 6, "--batch-size", 2),
        "evaluate": ("evaluate", model, "--benchmark", scenes, "--out", folder / "results.json"),
        "report": ("report", folder),
    }
    return Job(folder, commands, {name: run_command(*command) for name, command in commands.items()})


@pytest.fixture(scope="session")
def place(job, tmp_path_factory):
    """A folder with everything the commands refer to, right and wrong."""
    place = tmp_path_factory.mktemp("place")
    for folder in (job.dataset, job.model):
        shutil.copytree(folder, place / folder.name, copy_function=os.link)
    shutil.copy(job.prompts, place / "prompts.jsonl")
    (place / "file").write_text("in the way")
    (place / "empty.txt").write_text("\n \n")
    (place / "views.txt").write_text("a nice view\nthe open sea\n")
    Image.new("RGB", (8, 8)).save(place / "photo.png")
    _write_prompt(place / "long_class_prompt.jsonl", caption="a room", classes=_many_words(12))
    _write_prompt(place / "long_caption.jsonl", caption="on the road " * 20, classes=["cat"])
    _write_model_without_weights(place / "model_without_weights")
    _write_voc(place / "voc")
    _write_voc(place / "damaged_voc")
    (place / "damaged_voc" / "SegmentationClass" / "0001.png").write_text("no image")
    (place / "predictions").mkdir()
    (place / "predictions" / "0001.png").write_text("no image")
    return place


@pytest.fixture
def refused(place, monkeypatch):
    """A function that runs a command in the place, sees that it changes nothing, and gives the message."""

    monkeypatch.chdir(place)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    def run(*words):
        before = times_of(place)
        message = refuse(*words)
        assert times_of(place) == before
        return message

    return run


def _many_words(number):
    return [f"strange thing {letter}" for letter in "abcdefghijkl"[:number]]


def _write_prompt(path, caption, classes):
    words, names = " ".join(classes), class_set("emoji").names[: len(classes)]
    header = {"schema_version": 1, "class_set": {"name": "custom", "names": names, "words": names}}
    prompt = {"index": 0, "text": f"{caption.strip()}; {words}", "class_prompt": words}
    lines = [header, prompt | {"classes": list(range(1, len(classes) + 1)), "class_words": classes}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _write_model_without_weights(folder):
    whole = Path(MODELS["embedded"].path)
    for path in (whole / "model_index.json", whole / "unet" / "config.json"):
        (folder / path.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.relative_to(whole))
    for name in ("scheduler", "text_encoder", "tokenizer", "vae"):
        (folder / name).symlink_to(whole / name)


def _write_voc(root):
    for folder, kind, mode in (("JPEGImages", "jpg", "RGB"), ("SegmentationClass", "png", "L")):
        (root / folder).mkdir(parents=True)
        Image.new(mode, (8, 8)).save(root / folder / f"0001.{kind}")
