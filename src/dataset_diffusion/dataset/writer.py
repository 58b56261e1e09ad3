"""Write a dataset shard by shard: many processes can fill it, and it stops and resumes anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataset_diffusion.dataset.manifest import FILE_NAME, DatasetManifest, check_not_in_between, stamp_of
from dataset_diffusion.dataset.schema import encode_sample, shard_bytes
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import sample_problems
from dataset_diffusion.disk.atomic import (
    atomic_write,
    clear_leftovers,
    explained_write_errors,
    find_leftovers,
    remove_files,
)
from dataset_diffusion.disk.claims import refuse_differences
from dataset_diffusion.disk.places import Location, local_folder
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.records import Sample


class DatasetWriter(DatasetStore):
    """A dataset in a local folder that shards are written to. Use `create` or `open` rather than the constructor.

    Example:
        >>> writer = DatasetWriter.create("dataset", manifest)  # doctest: +SKIP
        >>> for shard in writer.missing_shards():  # doctest: +SKIP
        ...     writer.write_shard(shard, samples_of(writer.shard_range(shard)))
    """

    @classmethod
    def create(cls, path: str | Location, manifest: DatasetManifest) -> DatasetWriter:
        """Begin a dataset, or go on with one that the same manifest began.

        Raises:
            DatasetError: the folder holds a dataset of another configuration, or cannot be written.
        """
        folder = local_folder(path)
        with explained_write_errors(folder):
            begun = (folder / FILE_NAME).exists()
            check_not_in_between(folder)
            (folder / "shards").mkdir(parents=True, exist_ok=True)
            if not begun and any((folder / "shards").glob("*.parquet")):
                raise DatasetError(
                    f"{folder} has shards but no {FILE_NAME}",
                    fix=f"restore {FILE_NAME}, use another --out or delete {folder}",
                )
        if not begun:
            manifest.save(folder)
            return cls(folder, manifest, stamp_of(folder))
        writer = cls.open(folder)
        found = writer.manifest.differences(manifest)
        refuse_differences(found, folder, "a dataset of another configuration", DatasetError)
        for place in (folder, folder / "shards"):
            clear_leftovers(place)
        return writer

    def write_shard(self, shard: int, samples: Iterable[Sample]) -> None:
        """Write all samples of a shard at once, in order of index. The same samples give the same bytes.

        Raises:
            DatasetError: the samples are not those of the shard, one of them is not valid (see `verify`), the disk is
                full, or the folder cannot be written. Nothing is left behind.
            IndexError: the dataset has no such shard.
        """
        self.write_rows(shard, self.encode(samples))

    def encode(self, samples: Iterable[Sample]) -> list[dict[str, Any]]:
        """Samples as rows for `write_rows`: the slow half of `write_shard`, which can be done piece by piece."""
        rows = []
        for sample in samples:
            if problem := next(sample_problems(sample, self.class_set), None):
                raise DatasetError(f"sample {sample.prompt.index} cannot be stored", got=problem)
            rows.append(encode_sample(sample, self.class_set, self.manifest.image_format))
        return rows

    def write_rows(self, shard: int, rows: Sequence[dict[str, Any]] | pa.Table) -> None:
        """Write what `encode` made of all samples of a shard, or `read_table` gave. Raises as `write_shard`."""
        indices, path = self.shard_range(shard), self.shard_path(shard)
        found = rows["index"].to_pylist() if isinstance(rows, pa.Table) else [row["index"] for row in rows]
        if found != list(indices):
            raise DatasetError(
                f"shard {shard} takes other samples",
                got=f"indices {found}",
                expected=f"{indices.start} to {indices.stop - 1} in order",
            )
        leftovers = self._leftovers  # listed before the first write, and not again: a dataset may have many shards
        atomic_write(path, shard_bytes(rows, self.manifest.schema_version))
        remove_files(leftovers.pop(path, ()))
        self._file.cache_clear()
        self._group.cache_clear()

    @cached_property
    def _leftovers(self) -> dict[Path, list[Path]]:
        return find_leftovers(self.path / "shards")
