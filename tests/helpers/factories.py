"""Samples and datasets made up for tests and benchmarks."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Heatmaps, Prompt, Sample

Samples = Callable[[int], Sample] | Sequence[Sample] | DatasetStore
"""What gives the sample of an index."""

FORKLIFTS = ClassSet.from_names(["forklift", "hand truck"])
"""The classes of `make_sample` unless told otherwise."""


def make_sample(
    index: int,
    *,
    text: str | None = None,
    classes: tuple[int, ...] = (1,),
    words: tuple[str, ...] = ("forklift",),
    size: tuple[int, int] = (6, 9),
    image: np.ndarray | None = None,
    label: np.ndarray | None = None,
    **fields: Any,
) -> Sample:
    """The sample of an index: always the same.

    Args:
        index: its index, and its seed.
        text: of the prompt; a yard with what the words name.
        classes: ids that the prompt names.
        words: of each class.
        size: (height, width) in pixels of what is not given.
        image: noise unless given.
        label: unless given, background, the classes and uncertain pixels at random.
        **fields: other fields of the sample; it has no heatmaps and no scores.
    """
    random, class_prompt = np.random.default_rng(index), " ".join(words)
    prompt = Prompt(index, text or f"a yard; {class_prompt}", class_prompt, classes, words)
    if image is None:
        image = random.integers(0, 256, (*(size if label is None else label.shape), 3), dtype=np.uint8)
    if label is None:
        label = random.choice(np.array([0, *classes, 255], np.uint8), image.shape[:2])
    return Sample(
        **({"seed": index, "heatmaps": None, "quality": {}} | fields), prompt=prompt, image=image, label=label
    )


def make_heatmaps(
    index: int, num_classes: int = 1, exponents: tuple[int, ...] = (0, 4), size: tuple[int, int] = (3, 4)
) -> Heatmaps:
    """Heatmaps of noise, always the same for an index; ``size`` is (height, width)."""
    random, shape = np.random.default_rng(index), (len(exponents), num_classes)
    values = random.random((*shape, *size)).astype(np.float16)
    return Heatmaps(exponents, values, random.random((*shape, 2)).astype(np.float32))


def write_dataset(
    folder: Path,
    samples: Samples,
    class_set: ClassSet = FORKLIFTS,
    *,
    num_samples: int | None = None,
    shards: Iterable[int] | None = None,
    provenance: Provenance | None = None,
    **fields: Any,
) -> DatasetWriter:
    """Write a dataset.

    Args:
        folder: its folder; shards that are there stay.
        samples: a list of them, or a function that makes the sample of an index.
        class_set: its classes.
        num_samples: how many; all of a list unless given.
        shards: the shards to write, all that are missing unless given.
        provenance: what it was made from.
        **fields: other fields of its manifest.
    """
    count = len(samples) if num_samples is None else num_samples
    manifest = DatasetManifest.made_from(provenance or Provenance(), class_set=class_set, num_samples=count, **fields)
    return fill(DatasetWriter.create(folder, manifest), samples, shards)


def fill(store: DatasetWriter, samples: Samples, shards: Iterable[int] | None = None) -> DatasetWriter:
    """Write some shards of a dataset, or all that are missing."""
    sample_of = samples if callable(samples) else samples.__getitem__
    for shard in store.missing_shards() if shards is None else shards:
        store.write_shard(shard, map(sample_of, store.shard_range(shard)))
    return store
