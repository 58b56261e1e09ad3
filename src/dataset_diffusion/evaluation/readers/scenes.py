"""Datasets of this package as benchmarks: the held-out scenes that ship with the embedded model, or any other."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from pathlib import Path

from dataset_diffusion.dataset.schema import sample_name
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Source
from dataset_diffusion.prompts.class_sets import ClassSet

SCENES = Path(str(files("dataset_diffusion") / "assets" / "scenes"))


def read_dataset(root: Path, split: str | None, classes: ClassSet) -> list[Source]:
    """Every sample of a dataset, which has no splits."""
    store = DatasetStore.open(root)
    store.check_complete()
    if split is not None:
        raise DatasetError("a dataset has no splits", got=f"--split {split} of {store.location}", fix="leave it out")
    return [
        Source(
            sample_name(index),
            partial(store.image, index),
            partial(store.label, index),
            label_name=f"{store.location}: sample {index}",
        )
        for index in range(len(store))
    ]
