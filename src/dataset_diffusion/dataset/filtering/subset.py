"""Some samples of a dataset as a dataset of their own, numbered anew; pictures are copied byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataset_diffusion.dataset.schema import sample_name, with_columns
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter


def write_subset(source: DatasetStore, kept: Sequence[int], target: DatasetWriter) -> Iterator[int]:
    """Write the missing shards of a dataset whose sample ``i`` is sample ``kept[i]`` of the source, ``kept`` ascending.

    One shard of the source is in memory at a time. Yields the number of samples of each shard, once it is written.
    """
    for shard in target.missing_shards():
        indices = target.shard_range(shard)
        target.write_rows(shard, _renumber(_gather(source, kept[indices.start : indices.stop]), indices))
        yield len(indices)


def _gather(source: DatasetStore, indices: Sequence[int]) -> pa.Table:
    shards, rows = np.divmod(np.array(indices), source.manifest.shard_size)
    parts = [source.read_table(shard).take(rows[shards == shard]) for shard in np.unique(shards).tolist()]
    return pa.concat_tables(parts).combine_chunks()


def _renumber(table: pa.Table, indices: range) -> pa.Table:
    columns: dict[str, list[object]] = {"index": list(indices)}
    for name in ("image", "label"):
        pictures = table[name].to_pylist()
        columns[name] = [
            {"bytes": picture["bytes"], "path": sample_name(index) + Path(picture["path"]).suffix}
            for index, picture in zip(indices, pictures, strict=True)
        ]
    return with_columns(table, columns)
