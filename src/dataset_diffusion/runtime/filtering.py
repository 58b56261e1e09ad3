"""A new dataset of the samples worth keeping, with a bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataset_diffusion.dataset.checks import check_pictures
from dataset_diffusion.dataset.files import dataset_lock
from dataset_diffusion.dataset.rules import Rule
from dataset_diffusion.dataset.schema import with_columns
from dataset_diffusion.dataset.selection import Selection, select
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.runtime.progress import progress


def filter_dataset(dataset: Path, rules: Sequence[Rule], out: Path) -> tuple[DatasetStore, Selection]:
    """Write the samples that pass all rules as a new dataset, numbered anew. Call again to resume.

    Returns:
        The new dataset, and which samples it holds.

    Raises:
        DatasetError: the dataset is unfinished or damaged or lacks a score, no sample passes, or ``out`` holds
            another dataset.
    """
    source = DatasetStore.open(dataset)
    source.check_complete()
    with progress("Judge", len(source), "images") as advance:
        selection = select(source, rules, on_sample=advance)
    if not selection.kept:
        raise DatasetError("no sample passes the rules", got=", ".join(map(str, rules)), fix="use looser rules")
    origin = {"rules": [str(rule) for rule in rules], "num_samples": len(source)}
    origin["config_hash"] = source.manifest.config_hash
    config = source.manifest.config | {"filter": [*source.manifest.config.get("filter", []), origin]}
    with dataset_lock(out):
        target = DatasetStore.create(out, source.manifest.with_config(config, num_samples=len(selection.kept)))
        work = target.missing_shards()
        with progress("Write", len(target), "images", done=len(target) - target.count(work)) as advance:
            for shard in work:
                target.write_rows(shard, _gather(source, selection.kept, target.shard_range(shard)))
                advance(len(target.shard_range(shard)))
    return target, selection


def _gather(source: DatasetStore, kept: Sequence[int], indices: range) -> pa.Table:
    """The rows of new indices. One shard of the source is in memory at a time."""
    shards, rows = np.divmod(np.array(kept)[indices.start : indices.stop], source.manifest.shard_size)
    parts = [source.read_table(shard).take(rows[shards == shard]) for shard in np.unique(shards).tolist()]
    table = pa.concat_tables(parts).combine_chunks()
    check_pictures(table, ("image", "label"), source.path)
    return _renumber(table, indices)


def _renumber(table: pa.Table, indices: range) -> pa.Table:
    columns: dict[str, list[object]] = {"index": list(indices)}
    for name in ("image", "label"):
        pictures = table[name].to_pylist()
        columns[name] = [
            {"bytes": picture["bytes"], "path": f"{index:08d}{Path(picture['path']).suffix}"}
            for index, picture in zip(indices, pictures, strict=True)
        ]
    return with_columns(table, columns)
