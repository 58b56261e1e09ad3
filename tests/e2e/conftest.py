"""One small job, done once for all tests that look at its result."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from commands import Outcome, run_command

from dataset_diffusion.dataset.store import DatasetStore


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
    DatasetStore.create(folder, manifest).write_shard(0, [source[index] for index in range(6)])
    return folder


@pytest.fixture(scope="session")
def job(tmp_path_factory, scenes) -> Job:
    """Class names in, report out, one command after another: six images of two steps, six steps of training."""
    folder = tmp_path_factory.mktemp("job")
    prompts, dataset, model = folder / "prompts.jsonl", folder / "dataset", folder / "model"
    drawing = ("--steps", 2, "--batch-size", 2, "--shard-size", 3)
    commands = {
        "prompts": ("prompts", "--classes", "emoji", "--num-images", 6, "--out", prompts),
        "generate": ("generate", "--prompts", prompts, "--out", dataset, *drawing),
        "verify": ("verify", dataset),
        "train": ("train", dataset, "--out", model, "--iterations", 6, "--batch-size", 2),
        "evaluate": ("evaluate", model, "--benchmark", scenes, "--out", folder / "results.json"),
        "report": ("report", folder),
    }
    return Job(folder, commands, {name: run_command(*command) for name, command in commands.items()})
