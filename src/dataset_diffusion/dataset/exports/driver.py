"""Writes an export shard by shard, so that memory stays flat and a killed export goes on where it was.

While it is unfinished the folder has a subfolder ``.unfinished`` with one file per finished shard, whose files have
reached the disk by then; its first line is the SHA-256 of the others. The dataset card comes last: a folder with a
README.md is a whole export.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.card import FILE_NAME as CARD, dataset_card
from dataset_diffusion.dataset.counts import LabelCounts
from dataset_diffusion.dataset.exports.job import COLUMNS, Item, Job, val_indices
from dataset_diffusion.dataset.exports.table import CARD_HEADERS, EXPORTS, SHARING
from dataset_diffusion.dataset.schema import sha256
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.disk.atomic import (
    atomic_write,
    explained_write_errors,
    read_json,
    remove_leftovers,
    sync_file_system,
    write_json,
)
from dataset_diffusion.disk.claims import differences, refuse_differences
from dataset_diffusion.disk.places import read_regular
from dataset_diffusion.errors import DatasetError, first_line

FILE_NAME = "export.json"
_UNFINISHED = ".unfinished"
_LAYOUT = 2
"""Version of what the files of an export look like. Version 1, of 0.1.0, is not named."""
_LEFTOVERS = (".lock", f".{FILE_NAME}.")


class DatasetExport:
    """A dataset on its way into another format. The same dataset and settings give the same bytes.

    `begin` it, write the missing shards, `finish` it; after a kill do so again. Not for two processes at once: see
    `locks.folder_lock`.
    """

    def __init__(self, store: DatasetStore, out: Path, settings: ExportSettings) -> None:
        store.check_complete()
        self.store = store
        self.job = Job(out, settings, store.manifest)
        self._format = EXPORTS[settings.format]

    def begin(self) -> None:
        """Claim the folder, or find that the same export has; one that holds anything else is refused."""
        folder = self.job.folder
        with explained_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            present = {path.name for path in folder.iterdir() if not path.name.startswith(_LEFTOVERS)}
        claim = self._description()
        if FILE_NAME in present:
            _check_same(claim, folder)
        elif present:
            raise DatasetError(
                f"{folder} is not empty",
                got=f"{min(present)} in it",
                expected="a new or empty folder, or one with the same export",
                fix="use another --out",
            )
        else:
            write_json(folder / FILE_NAME, claim)
        if not self.is_finished:
            self.job.make_folders(_UNFINISHED)

    @property
    def is_finished(self) -> bool:
        """Whether all of it is written."""
        return (self.job.folder / CARD).exists()

    def missing_shards(self) -> list[int]:
        """The shards of the dataset that are still to be exported, in order."""
        if self.is_finished:
            return []
        return [shard for shard in range(self.store.manifest.num_shards) if not _is_whole(self._records_file(shard))]

    def write_shard(self, shard: int) -> None:
        """Export the samples of one shard of the dataset."""
        records = self._format.write_shard(self.job, shard, self._items(shard))
        lines = [json.dumps(record) + "\n" for record in records]
        self._sync()  # the record says that the files are there
        data = "".join(lines).encode()
        atomic_write(self._records_file(shard), f"{sha256(data)}\n".encode() + data)

    def finish(self) -> None:
        """Write what is about all samples, the dataset card last. Does nothing to a finished export."""
        if not self.is_finished:
            self._format.write_index(self.job, _Records(self))
            self._sync()
            atomic_write(self.job.folder / CARD, self._card().encode())
        for name in (CARD, FILE_NAME):
            remove_leftovers(self.job.folder / name)
        shutil.rmtree(self.job.folder / _UNFINISHED, ignore_errors=True)

    def _sync(self) -> None:
        with explained_write_errors(self.job.folder):
            sync_file_system(self.job.folder)

    def _description(self) -> dict[str, Any]:
        manifest = self.job.manifest
        return {
            "layout": _LAYOUT,
            "settings": self.job.settings.model_dump(mode="json"),
            "dataset": hashlib.sha256(manifest.identity.encode()).hexdigest()[:16],
            "num_samples": manifest.num_samples,
            "classes": list(manifest.class_set.label_names),
        }

    def _items(self, shard: int) -> Iterator[Item]:
        chosen = val_indices(self.store.shard_range(shard), self.job.settings.val_fraction)
        for row in self.store.read_shard(shard, COLUMNS):
            label = self.store.decode_label(row["index"], row["label"]["bytes"], row["image"]["bytes"])
            yield Item(row, label, "val" if row["index"] in chosen else "train")

    def _records_file(self, shard: int) -> Path:
        return self.job.folder / _UNFINISHED / f"{shard:05d}.jsonl"

    def _card(self) -> str:
        counts = LabelCounts()
        for record in _Records(self):
            counts.add({int(label_id): pixels for label_id, pixels in record["pixels"].items()})
        card = dataset_card(
            self.store.manifest,
            counts,
            loading=self._format.LOADING.replace("{suffix}", self.job.image_suffix),
            licence=self.job.settings.licence,
            limits=self._format.LIMITS,
            sharing=SHARING.get(self.job.settings.format),
        )
        header = CARD_HEADERS.get(self.job.settings.format)
        return card if header is None else header(self.job) + card


class _Records:
    """What was kept of every sample, read from disk each time."""

    def __init__(self, export: DatasetExport) -> None:
        self._files = [export._records_file(shard) for shard in range(export.store.manifest.num_shards)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for file in self._files:
            with file.open(encoding="utf-8") as lines:
                next(lines)  # their hash
                yield from map(json.loads, lines)


def _is_whole(file: Path) -> bool:
    """Whether a file of records is there as it was written; a damaged one is no record, and its shard written again."""
    try:
        first, _, data = read_regular(file).partition(b"\n")
    except OSError:
        return False
    return first == sha256(data).encode()


def _check_same(claim: dict[str, Any], folder: Path) -> None:
    mine = {"layout": claim["layout"], **claim["settings"], "dataset": claim["dataset"]}
    path, fix = folder / FILE_NAME, f"use another --out or delete {folder}"
    there = read_json(path, fix)
    try:
        other = {"layout": there.get("layout", 1), **there["settings"], "dataset": there["dataset"]}
    except (AttributeError, TypeError, KeyError) as error:
        raise DatasetError(f"cannot read {path}", got=f"no export: {first_line(error)}", fix=fix) from error
    refuse_differences(differences(other, mine), folder, "another export", DatasetError)
