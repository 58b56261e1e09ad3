"""Checks every byte of a dataset, with a bar, and has what is broken generated again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dataset_diffusion.config import WorkerSettings
from dataset_diffusion.dataset.corrections import corrected_samples
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import find_problems, missing_shard_problems, unknown_files
from dataset_diffusion.disk.locks import remove_left_lock
from dataset_diffusion.disk.places import Location
from dataset_diffusion.machine.progress import progress


@dataclass(frozen=True)
class Verification:
    """A verified dataset, the files of the shards that were written again, and what is wrong with it, a line each."""

    store: DatasetStore
    repaired: list[Path]
    problems: list[str]

    @property
    def num_corrected(self) -> int:
        """Samples whose label maps were corrected by hand."""
        return len(corrected_samples(self.store))


def verify_dataset(
    source: str | Location,
    *,
    workers: WorkerSettings = WorkerSettings(),
    repair: Callable[[DatasetStore, list[int]], list[int]] | None = None,
) -> Verification:
    """Check every byte of a dataset, and again after repairing it.

    Args:
        source: the dataset's folder, or the URL of one.
        workers: how many threads check shards; None takes a few more than there are cores.
        repair: writes shards of these numbers again, which are damaged, and those that are missing; gives the numbers
            of both. None leaves them as they are.

    Raises:
        DatasetError: there is no dataset, or it was changed meanwhile.
        DatasetDiffusionError: whatever ``repair`` refuses.
    """
    store = DatasetStore.open(source)
    broken, repaired = find_broken_shards(store, workers.num_workers), list[Path]()
    if repair is not None and (broken or not store.is_complete):
        repaired = [store.shard_path(shard) for shard in repair(store, list(broken))]
        broken = find_broken_shards(store, workers.num_workers)
    elif repair is not None:
        remove_left_lock(store.path)
    damage = chain.from_iterable(broken.values())
    return Verification(store, repaired, [*damage, *missing_shard_problems(store), *unknown_files(store)])


def find_broken_shards(store: DatasetStore, num_threads: int | None = None) -> dict[int, list[str]]:
    """The problems of damaged shards, by shard and in order. Whole and missing ones are left out."""
    broken = {}
    with progress("Check every picture and label map", store.count(store.present_shards()), "images") as advance:
        for shard, problems in find_problems(store, num_threads):
            if problems:
                broken[shard] = problems
            advance(len(store.shard_range(shard)))
    return broken
