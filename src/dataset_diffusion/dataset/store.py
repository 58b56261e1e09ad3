"""A dataset on disk that reads like a list."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_diffusion.dataset.manifest import DatasetManifest, Stamp, stamp_of
from dataset_diffusion.dataset.schema import (
    IMAGE,
    LABEL,
    SAMPLE_COLUMNS,
    Image,
    LabelMap,
    as_current,
    columns_of,
    decode_image,
    decode_label,
    decode_row,
    picture_bytes,
    picture_size,
    shard_name,
)
from dataset_diffusion.dataset.verify import (
    find_problems,
    label_problems,
    missing_shard_problems,
    sample_problems,
    size_problem,
    table_problems,
    unknown_files,
)
from dataset_diffusion.disk.places import Location, local_folder, locate
from dataset_diffusion.errors import DatasetDiffusionError, DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Sample

AnyStore = TypeVar("AnyStore", bound="DatasetStore")

_OPEN_FILES = 64
"""Shards kept open, so that reading at random seldom opens one."""
_GROUPS_IN_MEMORY = 4
"""Row groups kept, so that reading in order reads each once, whatever columns take turns."""

_UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""What pyarrow raises on a damaged file; column names that are no longer UTF-8 are ValueErrors."""


class DatasetStore:
    """A dataset on disk: ``dataset.json`` and ``shards/00000.parquet``, ``shards/00001.parquet``, ...

    Each shard holds a fixed range of sample indices and takes its name only when it is whole: a shard that exists is
    complete, a missing one is the work to do. Use `open` rather than the constructor; `DatasetWriter` writes.

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

    def __repr__(self) -> str:
        classes = ", ".join(self.class_set.names[:5]) + (", …" if self.class_set.num_classes > 5 else "")
        return f"<{type(self).__name__} {self.location}: {self.manifest.num_samples} samples of {classes}>"

    def __reduce__(self) -> tuple[type[DatasetStore], tuple[Location, DatasetManifest, Stamp | None]]:
        """Pickle without the open file, so that every data-loading worker opens its own."""
        return type(self), (self.location, self.manifest, self._stamp)

    @classmethod
    def open(cls: type[AnyStore], path: str | Location) -> AnyStore:
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
        return local_folder(self.location)

    @property
    def class_set(self) -> ClassSet:
        """The classes that label ids stand for."""
        return self.manifest.class_set

    @property
    def is_complete(self) -> bool:
        """Whether every shard exists."""
        return len(self.present_shards()) == self.manifest.num_shards

    def check_complete(self) -> None:
        """Raise a DatasetError where shards are missing."""
        if missing := self.manifest.num_shards - len(self.present_shards()):
            raise DatasetError(
                "the dataset is not finished",
                got=f"{self.location} lacks {missing} of {self.manifest.num_shards} shards",
                fix="run the command that began it again",
            )

    def check_unchanged(self) -> None:
        """Raise a DatasetError where other samples took, or are taking, its place since it was opened."""
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

    def present_shards(self) -> list[int]:
        """The shards that are there, in order."""
        # One listing: a question per shard takes minutes on the file systems that have the most of them.
        files = self.shard_files()
        names = [name.removesuffix(".parquet") for name in files]
        numbers = {int(name) for name in names if name.isascii() and name.isdecimal()}
        return sorted(one for one in numbers if one < self.manifest.num_shards and shard_name(one) in files)

    def missing_ranges(self) -> list[range]:
        """The shards that are still to be written, in order and as runs of neighbours: few, whatever a file claims."""
        ends = [-1, *self.present_shards(), self.manifest.num_shards]
        return [range(start + 1, stop) for start, stop in pairwise(ends) if stop - start > 1]

    def missing_shards(self) -> list[int]:
        """The shards that are still to be written, in order."""
        return list(chain.from_iterable(self.missing_ranges()))

    def shard_files(self) -> set[str]:
        """Names of all files among the shards."""
        return {path.name for path in (self.location / "shards").glob("*.parquet")}

    def shard_path(self, shard: int) -> Path:
        """Where a shard is written. Raises as `path`."""
        return self.path / "shards" / shard_name(shard)

    def shard_range(self, shard: int) -> range:
        """The sample indices of a shard. Raises an IndexError where the dataset has no such shard."""
        return self.manifest.shard_range(shard)

    def count(self, shards: Iterable[int]) -> int:
        """Samples of some shards."""
        return sum(len(self.shard_range(shard)) for shard in shards)

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
        with self._named(index):
            sample = decode_row({name: table[name][row] for name in table.column_names})
            self._refuse(sample_problems(sample, self.class_set))
        return sample

    def __iter__(self) -> Iterator[Sample]:
        """Read all samples in order of index."""
        return (self[index] for index in range(len(self)))

    def image_and_label(self, index: SupportsIndex) -> tuple[Image, LabelMap]:
        """Read what a segmenter trains on, leaving the heatmaps on disk. Raises as indexing does."""
        table, row = self._read(index, (IMAGE, LABEL))
        data = picture_bytes(table["image"][row])
        return self.decode_image(index, data), self.decode_label(index, picture_bytes(table["label"][row]), data)

    def read_shard(self, shard: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Read columns of a shard as they are stored, pictures still encoded, with a few rows in memory at a time.

        Raises:
            DatasetError: the shard is missing or damaged, or a row is not what it should be (`table_problems`).
        """
        hashes = [f"{name}_sha256" for name in ("image", "label") if name in columns]
        for group in range(self._file(shard).num_row_groups):
            yield from self._read_group(shard, group, (*columns, *hashes)).select(columns).to_pylist()

    def read_table(self, shard: int) -> pa.Table:
        """Read a whole shard, pictures still encoded, with the columns of the present schema version.

        Raises as `read_shard`.
        """
        table = self._read_whole(shard, self._file(shard))
        self._refuse_damaged(shard, table, self.shard_range(shard))
        return table

    def read_unchecked(self, shard: int) -> pa.Table:
        """Read the file that has a shard's name by now, whatever its rows hold. Several threads may.

        Raises:
            DatasetError: the shard is missing, or is no shard of so many rows.
        """
        return self._read_whole(shard, self._open_shard(shard))

    def image(self, index: SupportsIndex) -> Image:
        """Read an image alone, leaving its label map on disk. Raises as indexing does."""
        table, row = self._read(index, (IMAGE,))
        return self.decode_image(index, picture_bytes(table["image"][row]))

    def label(self, index: SupportsIndex) -> LabelMap:
        """Read a label map alone, leaving the image on disk. Raises as indexing does."""
        table, row = self._read(index, (LABEL,))
        return self.decode_label(index, picture_bytes(table["label"][row]))

    def decode_image(self, index: SupportsIndex, image: bytes) -> Image:
        """The image of a sample from its encoded bytes; a DatasetError where they are none."""
        with self._named(index):
            return decode_image(image)

    def decode_label(self, index: SupportsIndex, label: bytes, image: bytes | None = None) -> LabelMap:
        """The label map of a sample from its encoded bytes.

        Raises:
            DatasetError: it is no label map of the dataset's classes, or not of the size of the encoded image.
        """
        with self._named(index):
            size = picture_size(label)
            if image is not None and size != (expected := picture_size(image)):
                raise DatasetError(size_problem(expected, size))
            pixels = decode_label(label)
            self._refuse(label_problems(pixels, self.class_set))
        return pixels

    def verify(self) -> list[str]:
        """Check every byte: schema, checksums, indices, sizes, label ids, missing and unknown files.

        Returns:
            What is wrong, one line each and in order; empty where nothing is.
        """
        found = chain.from_iterable(problems for _, problems in find_problems(self, num_threads=1))
        return [*found, *missing_shard_problems(self), *unknown_files(self)]

    def _read(self, index: SupportsIndex, columns: tuple[str, ...]) -> tuple[pa.Table, int]:
        """The cached row group that holds a sample, and the sample's row in it."""
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"sample {index} of a dataset of {len(self)}")
        shard, offset = divmod(position % len(self), self.manifest.shard_size)
        group, metadata = 0, self._file(shard).metadata
        while offset >= (rows := metadata.row_group(group).num_rows):
            group, offset = group + 1, offset - rows
        return self._group(shard, group, columns), offset

    def _read_group(self, shard: int, group: int, columns: tuple[str, ...]) -> pa.Table:
        file, more = self._file(shard), () if "index" in columns else ("index",)
        try:
            table = file.read_row_group(group, columns=[*columns, *more], use_threads=False)
        except _UNREADABLE as error:
            raise self._damaged(shard, error) from error
        before = sum(file.metadata.row_group(earlier).num_rows for earlier in range(group))
        start = self.shard_range(shard).start + before
        self._refuse_damaged(shard, table, range(start, start + file.metadata.row_group(group).num_rows))
        return table

    def _read_whole(self, shard: int, file: pq.ParquetFile) -> pa.Table:
        try:
            # Parquet names what lists hold otherwise, which would change the bytes of what is written from the table.
            return as_current(file.read(use_threads=False).cast(columns_of(self.manifest.schema_version)))
        except _UNREADABLE as error:
            raise self._damaged(shard, error) from error

    def _refuse_damaged(self, shard: int, table: pa.Table, indices: range) -> None:
        for problem in table_problems(table, indices, self.class_set):
            raise self._damaged(shard, problem)

    @staticmethod
    def _refuse(problems: Iterator[str]) -> None:
        for problem in problems:
            raise DatasetError(problem)

    @contextmanager
    def _named(self, index: SupportsIndex) -> Iterator[None]:
        """Say of an error which sample it is about."""
        try:
            yield
        except DatasetDiffusionError as error:
            position = operator.index(index) % len(self)
            raise self._damaged(position // self.manifest.shard_size, f"sample {position}: {error}") from error

    def _open_shard(self, shard: int) -> pq.ParquetFile:
        path = self._place(shard)
        if not path.exists():
            raise DatasetError(f"{path} is missing", fix="run the command that made the dataset again to write it")
        if not path.is_file():
            raise self._damaged(shard, "no regular file")
        try:
            source = path if isinstance(path, Path) else path.open("rb")
            file = pq.ParquetFile(source, page_checksum_verification=True)
        except _UNREADABLE as error:
            raise self._damaged(shard, error) from error
        self.check_unchanged()  # the shard is open by now: what changes later does not change what is read of it
        if not file.schema_arrow.equals(columns_of(self.manifest.schema_version)):
            raise self._damaged(shard, "its columns are not this version's")
        rows = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        if rows != len(self.shard_range(shard)):
            raise self._damaged(shard, f"{rows} samples instead of {len(self.shard_range(shard))}")
        return file

    def _place(self, shard: int) -> Location:
        return self.location / "shards" / shard_name(shard)

    def _damaged(self, shard: int, reason: object) -> DatasetError:
        path = self._place(shard)
        fix = f"delete {path} and run the command that made the dataset again"
        return DatasetError(f"{path} is damaged", got=str(reason), fix=fix)
