"""Checks every byte of a dataset, with a bar."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.machine.progress import progress


def find_broken_shards(store: DatasetStore, num_workers: int | None = None) -> dict[int, list[str]]:
    """What `DatasetStore.problems_of` says about every shard, found by several threads.

    Args:
        store: the dataset.
        num_workers: threads; None takes a few more than there are cores.

    Returns:
        The problems of missing and damaged shards, by shard and in order; whole ones are left out.

    Raises:
        ConfigError: fewer than one worker.
    """
    if num_workers is not None and num_workers < 1:
        raise ConfigError("bad number of workers", got=num_workers, expected="1 or more")
    shards = range(store.manifest.num_shards)
    broken = {}
    # Threads do: hashing, decompressing and decoding leave Python's lock to the others.
    pool = ThreadPoolExecutor(num_workers)
    try:
        with progress("Verify", len(store), "images") as advance:
            for shard, problems in zip(shards, pool.map(store.problems_of, shards), strict=True):
                if problems:
                    broken[shard] = problems
                advance(len(store.shard_range(shard)))
    finally:
        pool.shutdown(cancel_futures=True)
    return broken
