"""What the reader's checks cost, and the syncs of what is written, as ratios.

    python -m benchmarks.checks --work build/checks

A dataset of photo-like scenes is read with and without the checks of every row (indices, class ids, SHA-256, sizes,
label ids), by processor time; and exported with and without syncs, by the clock. Both ways are timed in turn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from statistics import median
from unittest import mock

import torch
from benchmarks.store import photos
from tests.helpers.exporting import write_export
from tests.helpers.factories import write_dataset

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset import store as reader
from dataset_diffusion.dataset.exports import driver
from dataset_diffusion.dataset.exports.table import EXPORTS
from dataset_diffusion.dataset.store import DatasetStore

SHARD = 64
Work = Callable[[DatasetStore], object]

READS: dict[str, Work] = {
    "whole shards, as relabel and filter read them": lambda store: list(map(store.read_table, _shards(store))),
    "columns without pictures, as counts of classes": lambda store: [
        row for shard in _shards(store) for row in store.read_shard(shard, ("index", "classes"))
    ],
    "images and label maps, as training reads them": lambda store: list(map(store.image_and_label, range(len(store)))),
    "all of every sample": list,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-samples", type=int, default=256)
    parser.add_argument("--side", type=int, default=256, help="pixels of the pictures")
    parser.add_argument("--repeats", type=int, default=5, help="times that each way is measured; medians are told")
    parser.add_argument("--formats", nargs="+", default=list(EXPORTS), choices=list(EXPORTS))
    parser.add_argument("--work", type=Path, default=Path("build/checks"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = make_dataset(options.work / f"{options.num_samples}-{options.side}", options.num_samples, options.side)
    print("| read | checked / unchecked | ms a sample, checked |\n|---|---|---|")
    for name, work in READS.items():
        ratio, seconds = compare(lambda work=work: work(DatasetStore.open(folder)), unchecked, options.repeats)
        print(f"| {name} | {ratio:.2f} | {1000 * seconds / options.num_samples:.2f} |", flush=True)
    print("\n| export | with syncs / without | ms a sample, with |\n|---|---|---|")
    for name in options.formats:
        out = options.work / "export"

        def export(name: str = name, out: Path = out) -> None:
            shutil.rmtree(out, ignore_errors=True)
            write_export(folder, out, ExportSettings(format=name))

        ratio, seconds = compare(export, unsynced, options.repeats, clock=time.perf_counter)
        print(f"| {name} | {ratio:.2f} | {1000 * seconds / options.num_samples:.2f} |", flush=True)


def compare(
    work: Callable[[], object],
    without: Callable[[], object],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float]:
    """How many times longer work takes as it is than ``without`` something, medians; and its median of seconds."""
    as_it_is, stripped = [], []
    for _ in range(repeats):
        as_it_is.append(_seconds(work, clock))
        with without():
            stripped.append(_seconds(work, clock))
    return median(as_it_is) / median(stripped), median(as_it_is)


@contextmanager
def unchecked() -> Iterator[None]:
    """The reader takes rows as they are."""
    names = ("table_problems", "sample_problems", "label_problems")
    with mock.patch.multiple(reader, **{name: lambda *_: iter(()) for name in names}):
        yield


@contextmanager
def unsynced() -> Iterator[None]:
    """What is written may stay in memory."""
    with mock.patch.object(os, "fsync"), mock.patch.object(driver, "sync_file_system"):
        yield


def make_dataset(folder: Path, count: int, side: int) -> Path:
    """A dataset of noisy scenes, which is kept."""
    if not (folder / "dataset.json").exists():
        scenes = DatasetStore.open(str(files("dataset_diffusion") / "assets" / "scenes"))
        samples = list(photos(scenes, side, count))
        write_dataset(folder, samples, scenes.class_set, shard_size=SHARD, image_format="jpeg")
    return folder


def _shards(store: DatasetStore) -> range:
    return range(store.manifest.num_shards)


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


if __name__ == "__main__":
    main()
