"""A folder of shards that many processes can fill, that stops and resumes anywhere, and that reads like a list."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from dataset_diffusion.dataset.manifest import FILE_NAME, DatasetManifest, Stamp, check_not_in_between, stamp_of
from dataset_diffusion.dataset.schema import (
    IMAGE,
    LABEL,
    SAMPLE_COLUMNS,
    SCHEMA,
    decode_image,
    decode_label,
    decode_row,
    encode_sample,
    picture_bytes,
    shard_bytes,
)
from dataset_diffusion.dataset.verify import sample_problems, shard_problems
from dataset_diffusion.disk.atomic import (
    atomic_write,
    clear_leftovers,
    explained_write_errors,
    find_leftovers,
    remove_files,
)
from dataset_diffusion.disk.places import Location, locate
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Sample

_OPEN_FILES = 64
"""Shards kept open, so that reading at random seldom opens one."""
_GROUPS_IN_MEMORY = 4
"""Row groups kept, so that reading in order reads each once, whatever columns take turns."""

_UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""What pyarrow raises on a damaged file; column names that are no longer UTF-8 are ValueErrors."""


class DatasetStore:
    """A dataset on disk: ``dataset.json`` and ``shards/00000.parquet``, ``shards/00001.parquet``, ...

    Each shard holds a fixed range of sample indices and takes its name only when it is whole: a shard that exists is
    complete, a missing one is the work to do. Use `create` or `open` rather than the constructor.

    Attributes:
        location: its folder, or the URL that it is read from.
        manifest: what the dataset is made of.

    Example:
        >>> store = DatasetStore.open("runs/demo/dataset")  # doctest: +SKIP
        >>> store[0].label.shape  # doctest: +SKIP
        (128, 128)
    """

    def __init__(self, location: Location, manifest: DatasetManifest, stamp: Stamp | None = None) -> None:
        self.location = location
        self.manifest = manifest
        self._stamp = stamp
        self._file = lru_cache(_OPEN_FILES)(self._open_shard)
        self._group = lru_cache(_GROUPS_IN_MEMORY)(self._read_group)

    def __reduce__(self) -> tuple[type[DatasetStore], tuple[Location, DatasetManifest, Stamp | None]]:
        """Pickle without the open file, so that every data-loading worker opens its own."""
        return type(self), (self.location, self.manifest, self._stamp)

    @classmethod
    def create(cls, path: str | Location, manifest: DatasetManifest) -> DatasetStore:
        """Begin a dataset, or go on with one that the same manifest began.

        Raises:
            DatasetError: the folder holds a dataset of another configuration, or cannot be written.
        """
        folder = _local(path)
        with explained_write_errors(folder):
            begun = (folder / FILE_NAME).exists()
            check_not_in_between(folder)
            (folder / "shards").mkdir(parents=True, exist_ok=True)
            if not begun and any((folder / "shards").glob("*.parquet")):
                raise DatasetError(
                    f"{folder} has shards but no {FILE_NAME}",
                    fix=f"restore {FILE_NAME}, use another --out or delete {folder}",
                )
        if begun:
            return cls._resume(folder, manifest)
        manifest.save(folder)
        return cls(folder, manifest, stamp_of(folder))

    @classmethod
    def open(cls, path: str | Location) -> DatasetStore:
        """Open a dataset, complete or not.

        Args:
            path: a folder, or the URL of one (``s3://…``) to read from.

        Raises:
            DatasetError: there is no dataset, or its ``dataset.json`` cannot be read.
        """
        folder = locate(path)
        stamp = stamp_of(folder)  # first, so that whatever changes from here on is seen
        return cls(folder, DatasetManifest.load(folder), stamp)

    @property
    def path(self) -> Path:
        """Its folder.

        Raises:
            DatasetError: it is read from a URL.
        """
        return _local(self.location)

    @property
    def class_set(self) -> ClassSet:
        """The classes that label ids stand for."""
        return self.manifest.class_set

    @property
    def is_complete(self) -> bool:
        """Whether every shard exists."""
        return not self.missing_shards()

    def check_complete(self) -> None:
        """Refuse a dataset that lacks shards.

        Raises:
            DatasetError: saying how many.
        """
        if missing := self.missing_shards():
            raise DatasetError(
                "the dataset is not finished",
                got=f"{self.location} lacks {len(missing)} of {self.manifest.num_shards} shards",
                fix="run the command that began it again",
            )

    def check_unchanged(self) -> None:
        """Refuse a dataset whose place other samples have taken since it was opened; see `replacement`.

        Raises:
            DatasetError: they have, or are about to.
        """
        if stamp_of(self.location) == self._stamp:
            return
        try:
            # The same text written anew is no change: jobs that begin a dataset together all write its dataset.json.
            differences = self.manifest.differences(DatasetManifest.load(self.location))
        except DatasetError:
            differences = ["samples that are being replaced"]
        if differences:
            raise DatasetError(
                f"{self.location} was changed while it was read", got=differences[0], fix="run the command again"
            )

    def missing_shards(self) -> list[int]:
        """The shards that are still to be written, in order."""
        # One listing: a question per shard takes minutes on the file systems that have the most of them.
        there = self._file_names()
        return [shard for shard in range(self.manifest.num_shards) if _file_name(shard) not in there]

    def shard_path(self, shard: int) -> Path:
        """Where a shard is written. Raises as `path`."""
        return self.path / "shards" / _file_name(shard)

    def shard_range(self, shard: int) -> range:
        """The sample indices of a shard. Raises an IndexError where the dataset has no such shard."""
        return self.manifest.shard_range(shard)

    def count(self, shards: Iterable[int]) -> int:
        """Samples of some shards."""
        return sum(len(self.shard_range(shard)) for shard in shards)

    def write_shard(self, shard: int, samples: Iterable[Sample]) -> None:
        """Write all samples of a shard at once, in order of index. The same samples give the same bytes.

        Raises:
            DatasetError: the samples are not those of the shard, one of them is not valid (see `verify`), the disk is
                full, or the folder cannot be written. Nothing is left behind.
            IndexError: the dataset has no such shard.
        """
        self.write_rows(shard, self.encode(samples))

    def encode(self, samples: Iterable[Sample]) -> list[dict[str, Any]]:
        """Samples as rows for `write_rows`: the slow half of `write_shard`, which can be done piece by piece.

        Raises:
            DatasetError: a sample is not valid.
        """
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
        atomic_write(path, shard_bytes(rows))
        remove_files(leftovers.pop(path, ()))
        self._forget_files()

    def __len__(self) -> int:
        """Samples of the finished dataset, whether or not they are all written."""
        return self.manifest.num_samples

    def __getitem__(self, index: SupportsIndex) -> Sample:
        """Read one sample; a negative index counts from the end.

        Raises:
            IndexError: no such index.
            DatasetError: the sample's shard is missing or damaged.
        """
        table, row = self._read(index, SAMPLE_COLUMNS)
        return decode_row({name: table[name][row] for name in table.column_names})

    def __iter__(self) -> Iterator[Sample]:
        """Read all samples in order of index."""
        return (self[index] for index in range(len(self)))

    def image_and_label(self, index: SupportsIndex) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """Read what a segmenter trains on, leaving the heatmaps on disk. Raises as indexing does."""
        table, row = self._read(index, (IMAGE, LABEL))
        return decode_image(picture_bytes(table["image"][row])), decode_label(picture_bytes(table["label"][row]))

    def read_shard(self, shard: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Read columns of a shard as they are stored, pictures still encoded, with a few rows in memory at a time.

        Raises:
            DatasetError: the shard is missing or damaged.
        """
        for group in range(self._file(shard).num_row_groups):
            yield from self._read_group(shard, group, tuple(columns)).to_pylist()

    def read_table(self, shard: int) -> pa.Table:
        """Read a whole shard as it is stored, pictures still encoded.

        Raises:
            DatasetError: the shard is missing or damaged.
        """
        try:
            # Parquet names what lists hold otherwise, which would change the bytes of what is written from the table.
            return self._file(shard).read(use_threads=False).cast(SCHEMA)
        except _UNREADABLE as error:
            raise self._damaged(shard, error) from error

    def image(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w 3"]:
        """Read an image alone, leaving its label map on disk. Raises as indexing does."""
        table, row = self._read(index, (IMAGE,))
        return decode_image(picture_bytes(table["image"][row]))

    def label(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w"]:
        """Read a label map alone, leaving the image on disk. Raises as indexing does."""
        table, row = self._read(index, (LABEL,))
        return decode_label(picture_bytes(table["label"][row]))

    def verify(self) -> list[str]:
        """Check every byte: schema, checksums, indices, sizes, label ids, missing and unknown files.

        Returns:
            What is wrong, one line each and in order; empty where nothing is.
        """
        shards = map(self.problems_of, range(self.manifest.num_shards))
        return [*chain.from_iterable(shards), *self.unknown_files()]

    def unknown_files(self) -> list[str]:
        """What `verify` says about files among the shards that are none."""
        strangers = self._file_names().difference(map(_file_name, range(self.manifest.num_shards)))
        return [f"{name}: no shard of this dataset" for name in sorted(strangers)]

    def problems_of(self, shard: int) -> list[str]:
        """What is wrong with a shard, one line each. Several threads may ask at once.

        Raises:
            DatasetError: the dataset was changed since it was opened.
        """
        try:
            # Not the open file: it may be another one than the one that has the name by now.
            table = self._open_shard(shard).read(use_threads=False)
        except DatasetError as error:
            self.check_unchanged()  # else all shards would seem broken, and be drawn over by a repair
            return [str(error)]
        except _UNREADABLE as error:
            return [str(self._damaged(shard, error))]
        problems = shard_problems(table, self.shard_range(shard), self.class_set)
        return [f"{_file_name(shard)}: {problem}" for problem in problems]

    @cached_property
    def _leftovers(self) -> dict[Path, list[Path]]:
        return find_leftovers(self.path / "shards")

    def _forget_files(self) -> None:
        self._file.cache_clear()
        self._group.cache_clear()

    def _read(self, index: SupportsIndex, columns: tuple[str, ...]) -> tuple[pa.Table, int]:
        """The cached row group that holds a sample, and the sample's row in it."""
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"sample {index} of a dataset of {len(self)}")
        shard, offset = divmod(position % len(self), self.manifest.shard_size)
        group, row = _find_row(self._file(shard).metadata, offset)
        return self._group(shard, group, columns), row

    def _read_group(self, shard: int, group: int, columns: tuple[str, ...]) -> pa.Table:
        try:
            return self._file(shard).read_row_group(group, columns=list(columns), use_threads=False)
        except _UNREADABLE as error:
            raise self._damaged(shard, error) from error

    def _file_names(self) -> set[str]:
        return {path.name for path in (self.location / "shards").glob("*.parquet")}

    def _open_shard(self, shard: int) -> pq.ParquetFile:
        path = self._place(shard)
        if not path.exists():
            raise DatasetError(f"{path} is missing", fix="run the command that made the dataset again to write it")
        try:
            source = path if isinstance(path, Path) else path.open("rb")
            file = pq.ParquetFile(source, page_checksum_verification=True)
        except _UNREADABLE as error:
            raise self._damaged(shard, error) from error
        self.check_unchanged()  # the shard is open by now: what changes later does not change what is read of it
        if not file.schema_arrow.equals(SCHEMA):
            raise self._damaged(shard, "its columns are not this version's")
        rows = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        if rows != len(self.shard_range(shard)):
            raise self._damaged(shard, f"{rows} samples instead of {len(self.shard_range(shard))}")
        return file

    def _place(self, shard: int) -> Location:
        return self.location / "shards" / _file_name(shard)

    def _damaged(self, shard: int, reason: object) -> DatasetError:
        path = self._place(shard)
        fix = f"delete {path} and run the command that made the dataset again"
        return DatasetError(f"{path} is damaged", got=str(reason), fix=fix)

    @classmethod
    def _resume(cls, folder: Path, manifest: DatasetManifest) -> DatasetStore:
        store = cls.open(folder)
        if differences := store.manifest.differences(manifest):
            more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
            raise DatasetError(
                f"{folder} holds a dataset of another configuration",
                got=", ".join(differences[:3]) + more,
                fix=f"use another --out or delete {folder}",
            )
        for place in (folder, folder / "shards"):
            clear_leftovers(place)
        return store


def _find_row(metadata: pq.FileMetaData, offset: int) -> tuple[int, int]:
    """The row group that holds a row of a shard, and the row's place in it."""
    group = 0
    while offset >= metadata.row_group(group).num_rows:
        offset -= metadata.row_group(group).num_rows
        group += 1
    return group, offset


def _file_name(shard: int) -> str:
    return f"{shard:05d}.parquet"


def _local(path: str | Location) -> Path:
    folder = locate(path)
    if not isinstance(folder, Path):
        raise DatasetError(
            "datasets are written to local folders", got=str(path), fix="copy them when they are finished"
        )
    return folder
