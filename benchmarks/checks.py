"""What the reader's checks cost, and the syncs of what is written, as ratios of processor time.

    python -m benchmarks.checks --work build/checks

A dataset of photo-like scenes is read with and without the checks of every row (indices, class ids, SHA-256, sizes,
label ids), in turn. It is exported, and the time in which an export waits for its syncs is set beside its processor time:
by the clock, other work on the machine would show more than the syncs.
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
        ratio, seconds = compare(lambda work=work: work(DatasetStore.open(folder)), options.repeats)
        print(f"| {name} | {ratio:.2f} | {1000 * seconds / options.num_samples:.2f} |", flush=True)
    print("\n| export | with syncs / without | syncs | ms a sample in syncs |\n|---|---|---|---|")
    for name in options.formats:
        rounds = [export(folder, options.work / "export", name) for _ in range(options.repeats)]
        computing, waiting = (median(one[column] for one in rounds) for column in (0, 1))
        ratio, each = (computing + waiting) / computing, 1000 * waiting / options.num_samples
        print(f"| {name} | {ratio:.2f} | {rounds[0][2]} | {each:.2f} |", flush=True)


def export(folder: Path, out: Path, name: str) -> tuple[float, float, int]:
    """Processor seconds of an export, seconds that it waited for syncs, and how many those were."""
    shutil.rmtree(out, ignore_errors=True)
    waited: list[float] = []
    with timed(os, "fsync", waited), timed(driver, "sync_file_system", waited):
        started = time.process_time()
        write_export(folder, out, ExportSettings(format=name))
    return time.process_time() - started, sum(waited), len(waited)


def compare(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """How many times the processor time of unchecked reading work takes, medians; and its own median (s)."""
    as_it_is, stripped = [], []
    for _ in range(repeats):
        as_it_is.append(_seconds(work))
        with unchecked():
            stripped.append(_seconds(work))
    return median(as_it_is) / median(stripped), median(as_it_is)


@contextmanager
def unchecked() -> Iterator[None]:
    """The reader takes rows as they are."""
    names = ("table_problems", "sample_problems", "label_problems")
    with mock.patch.multiple(reader, **{name: lambda *_: iter(()) for name in names}):
        yield


@contextmanager
def timed(place: object, name: str, seconds: list[float]) -> Iterator[None]:
    """Note how long every call of a function takes."""
    function = getattr(place, name)

    def call(*arguments: object) -> object:
        started = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            seconds.append(time.perf_counter() - started)

    with mock.patch.object(place, name, call):
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


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
