"""What makes a sample, a shard and a dataset valid: asked before a sample is written, and again by `verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dataset_diffusion.dataset.schema import (
    HEATMAP_COLUMNS,
    LabelMap,
    decode_row,
    has_null,
    picture_bytes,
    rows_of,
    sha256,
    shard_name,
)
from dataset_diffusion.errors import DatasetDiffusionError, DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Heatmaps, Sample

if TYPE_CHECKING:
    from dataset_diffusion.dataset.store import DatasetStore


def find_problems(store: DatasetStore, num_threads: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Check every byte of the shards that are there, in threads that check a shard each; None takes a few more than
    there are cores.

    Yields:
        Every shard in order, and what `problems_of` finds in it.
    """
    shards = store.present_shards()
    # Threads do: hashing, decompressing and decoding leave Python's lock to the others.
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield from zip(shards, pool.map(lambda shard: problems_of(store, shard), shards), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def problems_of(store: DatasetStore, shard: int) -> list[str]:
    """What is wrong with a shard, one line each; a DatasetError where the dataset was changed since it was opened."""
    try:
        table = store.read_unchecked(shard)
    except DatasetError as error:
        store.check_unchanged()  # else all shards would seem broken, and a repair would generate them all again
        return [str(error)]
    problems = shard_problems(table, store.shard_range(shard), store.class_set)
    return [f"{shard_name(shard)}: {problem}" for problem in problems]


def missing_shard_problems(store: DatasetStore) -> list[str]:
    """A line for every run of shards that are missing."""
    return [_missing(store, shards) for shards in store.missing_ranges()]


def unknown_files(store: DatasetStore) -> list[str]:
    """What is wrong with files among the shards that are none, one line each."""
    strangers = store.shard_files().difference(map(shard_name, store.present_shards()))
    return [f"{name}: no shard of this dataset" for name in sorted(strangers)]


def sample_problems(sample: Sample, class_set: ClassSet) -> Iterator[str]:
    """What is wrong with a sample of this class set, one line each."""
    if sample.image.shape[:2] != sample.label.shape:
        yield size_problem(sample.image.shape[:2], sample.label.shape)
    yield from label_problems(sample.label, class_set)
    if strange := sorted(set(sample.prompt.classes) - set(class_set.ids)):
        yield f"prompt class ids outside the class set: {_list(strange)}"
    if sample.heatmaps is not None:
        yield from heatmap_problems(sample.heatmaps, len(sample.prompt.classes))


def size_problem(image: Sequence[int], label: Sequence[int]) -> str:
    """What is wrong where an image and its label map have different sizes, (height, width)."""
    return f"the image is {image[0]} x {image[1]} but its label is {label[0]} x {label[1]}"


def heatmap_problems(heatmaps: Heatmaps, num_classes: int) -> Iterator[str]:
    """What is wrong with the heatmaps of a sample whose prompt names so many classes, one line each."""
    values, ranges = heatmaps.values, heatmaps.ranges
    expected = (len(heatmaps.exponents), num_classes)
    if values.ndim != 4 or values.shape[:2] != expected or ranges.shape != (*expected, 2):
        yield (
            f"heatmaps of shape {values.shape} and ranges of shape {ranges.shape} do not fit "
            f"{expected[0]} exponents and {expected[1]} classes"
        )
    elif not values.size:
        yield f"heatmaps of shape {values.shape} hold nothing"
    elif not (values.min() >= 0 and values.max() <= 1):  # also where one is no number
        yield "heatmaps outside 0 to 1"


def shard_problems(table: pa.Table, indices: range, class_set: ClassSet) -> Iterator[str]:
    """What is wrong with the rows of the shard that stands for these sample indices, one line each."""
    found = list(table_problems(table, indices, class_set))
    yield from found
    if any("empty values" in problem for problem in found):
        return
    for index, row in zip(table["index"].to_pylist(), rows_of(table), strict=True):
        try:
            sample = decode_row(row)
        except DatasetDiffusionError as error:
            yield f"sample {index}: {error}"
        else:
            problems = (f"sample {index}: {problem}" for problem in sample_problems(sample, class_set))
            yield from (problem for problem in problems if problem not in found)


def table_problems(table: pa.Table, indices: range, class_set: ClassSet) -> Iterator[str]:
    """What is wrong with rows that stand for these sample indices, without decoding a picture, one line each.

    Only what is in the table is looked at: values that are missing, indices, class ids, seeds, and the hashes of
    pictures that have one beside them.
    """
    rows = list(rows_of(table))
    names = [name for name in table.column_names if has_null(table[name], optional=name in HEATMAP_COLUMNS)]
    for position, row in enumerate(rows if names else ()):
        if empty := [name for name in names if _is_incomplete(row[name], optional=name in HEATMAP_COLUMNS)]:
            yield f"sample {indices.start + position}: empty values in {', '.join(empty)}"
    if names:
        return
    found = table["index"].to_pylist() if "index" in table.column_names else list(indices)
    for position, (got, expected) in enumerate(zip_longest(found, indices)):
        if got != expected:
            yield f"row {position}: index {got}, expected {expected}"
    ids = set(class_set.ids)
    for index, row in zip(found, rows, strict=True):
        if "classes" in row and (strange := sorted(set(row["classes"].as_py()) - ids)):
            yield f"sample {index}: prompt class ids outside the class set: {_list(strange)}"
        if "seed" in row and (seed := row["seed"].as_py()) < 0:
            yield f"sample {index}: seed {seed} is negative"
        for name in ("image", "label"):
            if name in row and f"{name}_sha256" in row and _is_changed(row, name):
                yield f"sample {index}: the {name} does not have its recorded SHA-256"


def label_problems(label: LabelMap, class_set: ClassSet) -> Iterator[str]:
    """What is wrong with the ids of a label map, one line each."""
    allowed = np.zeros(256, bool)
    allowed[[0, *class_set.ids, class_set.ignore_index]] = True
    if not allowed[label].all():
        strange = [label_id for label_id in np.unique(label).tolist() if not allowed[label_id]]
        yield f"label ids outside the class set: {_list(strange)}"


def _missing(store: DatasetStore, shards: range) -> str:
    first, last = (store.location / "shards" / shard_name(shard) for shard in (shards[0], shards[-1]))
    what = f"{first} is missing" if first == last else f"{first} to {last.name} are missing ({len(shards)} shards)"
    return f"{what}; fix: run the command that made the dataset again to write {'it' if first == last else 'them'}"


def _is_incomplete(cell: pa.Scalar, *, optional: bool) -> bool:
    return has_null(pa.chunked_array([pa.array([cell.as_py()], cell.type)]), optional=optional)


def _is_changed(row: dict[str, pa.Scalar], name: str) -> bool:
    """Whether a row's picture does not have its recorded hash."""
    return bool(sha256(picture_bytes(row[name])) != row[f"{name}_sha256"].as_py())


def _list(values: list[int], limit: int = 8) -> str:
    return ", ".join(map(str, values[:limit])) + (", …" if len(values) > limit else "")
