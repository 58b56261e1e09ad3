"""What the page knows of a whole dataset before it looks at any picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dataset_diffusion.dataset.filtering.quantities import read_rows
from dataset_diffusion.dataset.store import DatasetStore


def describe(store: DatasetStore) -> dict[str, Any]:
    """A finished dataset: its name, classes with colours, and how its labels were made."""
    class_set, provenance = store.class_set, store.manifest.provenance
    own_labels = {} if provenance.filter else provenance.own_labels  # filtering numbers the samples anew
    exponents = next(store.read_shard(0, ("exponents",)))["exponents"]
    return {
        "name": store.location.name or str(store.location),
        "classes": [{"id": number, "name": name} for number, name in enumerate(class_set.names, 1)],
        "palette": class_set.palette,
        "label": (provenance.label or provenance.fitting).model_dump(mode="json"),
        "own_labels": {name: one.model_dump(mode="json") for name, one in own_labels.items()},
        "exponents": exponents or [],
    }


def list_samples(store: DatasetStore) -> dict[str, list[Any]]:
    """The prompt, classes and scores of every sample: one list a column, in order of index."""
    columns: dict[str, list[Any]] = {"prompts": [], "classes": [], "scores": []}
    for row in read_rows(store, ("prompt",)):
        for name, value in _shown(row):
            columns[name].append(value)
    return columns


def _shown(row: Any) -> Iterator[tuple[str, Any]]:
    yield "prompts", row["prompt"]
    yield "classes", row["classes"]
    yield "scores", {name: round(value, 4) for name, value in row["quality"].items()}
