"""What makes a sample, a shard and a dataset valid: asked before a sample is written, and again by `verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dataset_diffusion.dataset.schema import NULLABLE_COLUMNS, decode_row, picture_bytes, rows_of, sha256, shard_name
from dataset_diffusion.disk.places import Location
from dataset_diffusion.errors import DatasetDiffusionError, DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Sample

if TYPE_CHECKING:
    from dataset_diffusion.dataset.store import DatasetStore


def find_problems(store: DatasetStore, num_threads: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Check every byte of a dataset, in threads that check a shard each; None takes a few more than there are cores.

    Yields:
        Every shard in order, and what `problems_of` finds in it.
    """
    shards = range(store.manifest.num_shards)
    # Threads do: hashing, decompressing and decoding leave Python's lock to the others.
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield from zip(shards, pool.map(lambda shard: problems_of(store, shard), shards), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def problems_of(store: DatasetStore, shard: int) -> list[str]:
    """What is wrong with a shard, one line each; a DatasetError where the dataset was changed since it was opened."""
    try:
        table = store.read_table(shard, reopen=True)
    except DatasetError as error:
        store.check_unchanged()  # else all shards would seem broken, and a repair would generate them all again
        return [str(error)]
    problems = shard_problems(table, store.shard_range(shard), store.class_set)
    return [f"{shard_name(shard)}: {problem}" for problem in problems]


def unknown_files(store: DatasetStore) -> list[str]:
    """What is wrong with files among the shards that are none, one line each."""
    strangers = store.shard_files().difference(map(shard_name, range(store.manifest.num_shards)))
    return [f"{name}: no shard of this dataset" for name in sorted(strangers)]


def sample_problems(sample: Sample, class_set: ClassSet) -> Iterator[str]:
    """What is wrong with a sample of this class set, one line each."""
    if sample.image.shape[:2] != sample.label.shape:
        yield f"the image is {_size(sample.image)} but its label is {_size(sample.label)}"
    ids = set(class_set.ids)
    if strange := sorted(set(np.unique(sample.label).tolist()) - ids - {0, class_set.ignore_index}):
        yield f"label ids outside the class set: {_list(strange)}"
    if strange := sorted(set(sample.prompt.classes) - ids):
        yield f"prompt class ids outside the class set: {_list(strange)}"
    if sample.heatmaps is not None:
        values, ranges = sample.heatmaps.values, sample.heatmaps.ranges
        expected = (len(sample.heatmaps.exponents), len(sample.prompt.classes))
        if values.ndim != 4 or values.shape[:2] != expected or ranges.shape != (*expected, 2):
            yield (
                f"heatmaps of shape {values.shape} and ranges of shape {ranges.shape} do not fit "
                f"{expected[0]} exponents and {expected[1]} classes"
            )


def shard_problems(table: pa.Table, indices: range, class_set: ClassSet) -> Iterator[str]:
    """What is wrong with the rows of the shard that stands for these sample indices, one line each."""
    if empty := [name for name in table.column_names if name not in NULLABLE_COLUMNS and table[name].null_count]:
        yield f"empty values in {', '.join(empty)}"
        return
    found = table["index"].to_pylist()
    for position, (got, expected) in enumerate(zip_longest(found, indices)):
        if got != expected:
            yield f"row {position}: index {got}, expected {expected}"
    for index, row in zip(found, rows_of(table), strict=True):
        for name in _changed_pictures(row, ("image", "label")):
            yield f"sample {index}: the {name} does not have its recorded SHA-256"
        try:
            sample = decode_row(row)
        except DatasetDiffusionError as error:
            yield f"sample {index}: {error}"
        else:
            yield from (f"sample {index}: {problem}" for problem in sample_problems(sample, class_set))


def check_pictures(table: pa.Table, names: Sequence[str], dataset: Location) -> None:
    """Refuse rows whose pictures (``image``, ``label``) are not those that were written, before they are copied."""
    for row in rows_of(table):
        for name in _changed_pictures(row, names):
            raise DatasetError(
                f"sample {row['index'].as_py()} of {dataset} is damaged",
                got=f"{name} bytes that do not have their recorded SHA-256",
                fix="see dataset-diffusion verify",
            )


def _changed_pictures(row: dict[str, pa.Scalar], names: Sequence[str]) -> list[str]:
    """Those of a row's pictures that do not have their recorded hash."""
    return [name for name in names if sha256(picture_bytes(row[name])) != row[f"{name}_sha256"].as_py()]


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]} x {array.shape[1]}"


def _list(values: list[int], limit: int = 8) -> str:
    return ", ".join(map(str, values[:limit])) + (", …" if len(values) > limit else "")
