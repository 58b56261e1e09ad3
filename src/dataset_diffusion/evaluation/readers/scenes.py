"""Datasets of this package as benchmarks: the held-out scenes that ship with the embedded model, or any other."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from dataset_diffusion.dataset.schema import sample_name
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.listing import Listing

SCENES = Path(str(files("dataset_diffusion") / "assets" / "scenes"))


def read_dataset(store: DatasetStore, split: str | None = None) -> Listing:
    """Every sample of a dataset."""
    if split is not None:
        raise DatasetError("a dataset has no splits", got=f"--split {split} of {store.location}", fix="leave it out")
    return Listing(
        ids=tuple(map(sample_name, range(len(store)))),
        label_names=tuple(f"{store.location}: sample {index}" for index in range(len(store))),
        read_image=store.image,
        read_label=store.label,
    )
