"""Draw the shards of a dataset in the workers of a Ray cluster.

Shards are the work items: a worker draws one at a time, writes it itself, and asks for the next, so that only prompts
and counts travel. A worker that dies gives its shard back, and another one is started in its place.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from dataset_diffusion.config import ExecutorSettings
from dataset_diffusion.dataset.files import find_leftovers, remove_files
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.records import Prompt
from dataset_diffusion.runtime.executors import (
    BatchSize,
    DrawingJob,
    OnImages,
    WorkItem,
    draw_shards,
    load_model_for,
    work_of,
)

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise ConfigError(
        "Ray is not installed", got="--executor ray", fix="pip install 'dataset-diffusion[ray]'"
    ) from error

MOST_DEATHS = 3
"""A shard that so many workers died with is not given to another one."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Of a local Ray: images never pass through it."""


def draw_with_ray(
    store: DatasetStore,
    job: DrawingJob,
    shards: Sequence[int],
    settings: ExecutorSettings,
    on_images: OnImages | None = None,
) -> None:
    """Draw shards in the workers of a Ray cluster, one worker per GPU or per share of the CPU cores.

    The workers compute with as many CPU threads as this process would, because low-order bits may depend on it.

    Args:
        store: the dataset, in a folder that every node of the cluster sees under the same path.
        job: what to draw.
        shards: the shards to draw.
        settings: how many workers, and in which cluster.
        on_images: called when a shard is written.

    Raises:
        ConfigError: the cluster cannot be reached.
        ModelError: workers die again and again.
        DatasetDiffusionError: whatever a worker refuses.
    """
    with _cluster(settings) as cores:
        team = _Team(store, job, list(work_of(store, job, reversed(shards))), on_images)
        team.work(_share(job, settings, cores, len(shards)))
    # Of workers that were killed; the ones that drew their shards after them may not have seen it.
    leftovers = find_leftovers(store.path / "shards")
    remove_files(chain.from_iterable(leftovers.get(store.shard_path(shard), ()) for shard in shards))


class ShardWorker:
    """What runs on the nodes: loads the model once and draws the shards it is given."""

    def __init__(self, job: DrawingJob, path: Path, threads: int) -> None:
        self._job, self._path, self._threads = job, path, threads
        self._batch = BatchSize(job.generate.batch_size)

    def load(self) -> None:
        """Get ready. Not in ``__init__``, whose errors Ray would wrap."""
        torch.set_num_threads(self._threads)
        self._store = DatasetStore.open(self._path)
        self._model = load_model_for(self._job)

    def draw(self, shard: int, prompts: Sequence[Prompt]) -> str:
        """Draw and write a shard; gives a note on what that takes."""
        notes = [""]
        draw_shards(
            self._model,
            self._store,
            self._job,
            [(shard, prompts)],
            on_images=lambda _, note: notes.append(note),
            batch=self._batch,
        )
        return notes[-1]


@dataclass(frozen=True)
class _Share:
    """How many workers, and what each one takes of the cluster."""

    workers: int
    cores: int
    gpus: int
    threads: int
    device: str | None


class _Team:
    """The workers and their shards.

    At any moment a worker is idle, or one reference of ``_running`` stands for what it does: loading, or a shard.
    """

    def __init__(
        self, store: DatasetStore, job: DrawingJob, waiting: list[WorkItem], on_images: OnImages | None
    ) -> None:
        self._store, self._job, self._on_images = store, job, on_images
        self._waiting = waiting  # the next one last
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, WorkItem | None]] = {}
        self._deaths: Counter[int | None] = Counter()

    def work(self, share: _Share) -> None:
        """Have all shards drawn."""
        try:
            for _ in range(share.workers):
                self._hire(share)
            while self._waiting or any(item for _, item in self._running.values()):
                while self._waiting and self._idle:
                    self._assign(self._idle.pop(), self._waiting.pop())
                (done,), _ = ray.wait(list(self._running), num_returns=1)
                self._settle(done, share)
        finally:
            for worker in [*self._idle, *(worker for worker, _ in self._running.values())]:
                ray.kill(worker)

    def _hire(self, share: _Share) -> None:
        generate = self._job.generate
        model = str(Path(generate.model).resolve()) if Path(generate.model).is_dir() else generate.model
        job = replace(
            self._job, prompts=(), generate=generate.model_copy(update={"model": model, "device": share.device})
        )
        kind: Any = ray.remote(num_cpus=share.cores, num_gpus=share.gpus)(ShardWorker)
        worker = kind.remote(job, self._store.path.resolve(), share.threads)
        self._running[worker.load.remote()] = worker, None

    def _assign(self, worker: Any, item: WorkItem) -> None:
        self._running[worker.draw.remote(*item)] = worker, item

    def _settle(self, done: Any, share: _Share) -> None:
        """Take note of what a worker has done, or that it is gone."""
        worker, item = self._running.pop(done)
        shard = None if item is None else item[0]
        try:
            note = ray.get(done)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:  # it was killed, ran out of memory, or its node is lost
            self._deaths[shard] += 1
            if self._deaths[shard] >= MOST_DEATHS:
                raise _explain_deaths(shard, error) from error
            if item is not None:
                self._waiting.append(item)
            self._hire(share)
            return
        self._deaths[shard] = 0
        self._idle.append(worker)
        if item is not None and self._on_images is not None:
            self._on_images(len(item[1]), note)


def _explain_deaths(shard: int | None, error: RayError) -> ModelError:
    return ModelError(
        f"{MOST_DEATHS} workers died " + ("while they loaded the model" if shard is None else f"with shard {shard}"),
        got=str(error).strip().splitlines()[0],
        fix="if memory ran out, fewer --num-workers or a smaller --batch-size; what was drawn is kept",
    )


@contextmanager
def _cluster(settings: ExecutorSettings) -> Iterator[int]:
    """Be connected to a cluster; gives the number of its CPU cores."""
    if ray.is_initialized():
        yield _resource("CPU")
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    cores = len(os.sched_getaffinity(0))
    try:
        if settings.address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            # Workers may be asked for that share cores.
            ray.init(
                num_cpus=max(cores, (settings.num_workers or 1) * torch.get_num_threads()),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
        else:
            ray.init(address=settings.address, **quiet)
            cores = _resource("CPU")
    except Exception as error:  # Ray raises all kinds, bare Exception among them
        raise ConfigError(
            "cannot start Ray here" if settings.address is None else f"cannot reach the Ray cluster {settings.address}",
            got=str(error).strip().splitlines()[0],
            fix="see the logs below /tmp/ray"
            if settings.address is None
            else "start it with `ray start --head`, or leave --address out to start one here",
        ) from error
    try:
        yield cores
    finally:
        ray.shutdown()


def _share(job: DrawingJob, settings: ExecutorSettings, cores: int, num_shards: int) -> _Share:
    gpus, threads, device = _resource("GPU"), torch.get_num_threads(), job.generate.device
    if gpus and (device is None or device.startswith("cuda")):
        workers, taken, device = settings.num_workers or gpus, (1, 1), "cuda"
    else:
        workers, taken, device = settings.num_workers or max(cores // threads, 1), (threads, 0), device or "cpu"
    return _Share(min(workers, num_shards), *taken, threads, device)


def _resource(name: str) -> int:
    return int(ray.cluster_resources().get(name, 0))  # type: ignore[no-untyped-call]
