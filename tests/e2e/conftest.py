"""One small job, done once for all tests that look at its result."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from commands import Outcome, run_command

from dataset_diffusion.dataset.store import DatasetStore

NUM_IMAGES = 6
DRAW = ("--steps", 2, "--batch-size", 2, "--shard-size", 3)
TRAIN = ("--iterations", 6, "--batch-size", 2)


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
    """The first few held-out scenes, as a dataset of their own."""
    source = DatasetStore.open(files("dataset_diffusion") / "assets" / "scenes")
    folder = tmp_path_factory.mktemp("scenes")
    manifest = source.manifest.model_copy(update={"num_samples": NUM_IMAGES, "shard_size": NUM_IMAGES})
    DatasetStore.create(folder, manifest).write_shard(0, [source[index] for index in range(NUM_IMAGES)])
    return folder


@pytest.fixture(scope="session")
def job(tmp_path_factory, scenes) -> Job:
    """Class names in, report out, one command after another."""
    folder = tmp_path_factory.mktemp("job")
    prompts, dataset, model = folder / "prompts.jsonl", folder / "dataset", folder / "model"
    commands = {
        "prompts": ("prompts", "--classes", "emoji", "--num-images", NUM_IMAGES, "--out", prompts),
        "generate": ("generate", "--prompts", prompts, "--out", dataset, *DRAW),
        "train": ("train", dataset, "--out", model, *TRAIN),
        "evaluate": ("evaluate", model, "--benchmark", scenes, "--out", folder / "results.json"),
        "report": ("report", folder),
        "verify": ("verify", dataset),
    }
    return Job(folder, commands, {name: run_command(*command) for name, command in commands.items()})
