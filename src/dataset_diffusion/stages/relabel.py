"""New labels from stored heatmaps: no model, many processes or a Ray cluster, the bytes that drawing would give."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from os import _exit
from pathlib import Path

import pyarrow as pa
import torch

from dataset_diffusion.config import LabelSettings, WorkerSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.replacement import begin_replacement, finish_replacement, resume_replacement
from dataset_diffusion.dataset.schema import (
    decode_heatmaps,
    decode_image,
    encode_label,
    encode_scores,
    picture_size,
    sha256,
    with_columns,
)
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import check_pictures
from dataset_diffusion.disk.atomic import clear_leftovers
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.machine.progress import progress


def relabel_dataset(
    dataset: Path,
    settings: LabelSettings,
    out: Path | None = None,
    num_workers: int | None = None,
    executor: WorkerSettings = WorkerSettings(),
) -> DatasetStore:
    """Label a dataset anew from its stored heatmaps. Call again to resume; a finished one is left as it is.

    Args:
        dataset: a finished dataset that a model drew.
        settings: exponent, thresholds and refinement.
        out: the new dataset's folder; None puts the new labels in the place of the old ones, which stay whole until all
            the new ones are there.
        num_workers: processes, each with one thread; None takes one per core, of this machine or of the Ray cluster.
        executor: where they are; its own number of workers is not looked at.

    Returns:
        The relabelled dataset, the same as if it had been drawn with these settings.

    Raises:
        DatasetError: the dataset is unfinished or damaged or has no heatmaps, or ``out`` holds another one.
        ConfigError: no heatmaps are stored for the exponent, less than one worker, or Ray cannot be reached.
        ModelError: Ray's workers die again and again.
    """
    if num_workers is not None and num_workers < 1:
        raise ConfigError("bad number of workers", got=num_workers, expected="1 or more")
    if out is not None and out.resolve() != dataset.resolve():
        source = _open(dataset, settings)
        manifest = _relabelled(source.manifest, settings)
        with folder_lock(out):
            target = DatasetStore.create(out, manifest)
            _write_missing(source, target, settings, num_workers, executor)
        return target
    if not dataset.is_dir():
        DatasetStore.open(dataset)  # refuses it; the lock would make the folder
    with folder_lock(dataset):
        resume_replacement(dataset)
        source = _open(dataset, settings)
        manifest = _relabelled(source.manifest, settings)
        if source.manifest.differences(manifest):
            target = begin_replacement(source, manifest)
            _write_missing(source, target, settings, num_workers, executor)
            finish_replacement(target)
    return DatasetStore.open(dataset)


def _open(dataset: Path, settings: LabelSettings) -> DatasetStore:
    store = DatasetStore.open(dataset)
    store.check_complete()
    exponents = next(store.read_shard(0, ("exponents",)))["exponents"]
    if exponents is None:
        raise DatasetError(
            "there are no heatmaps to label from", got=str(dataset), expected="a dataset that a model drew"
        )
    if settings.exponent not in exponents:
        raise ConfigError(
            "no heatmaps are stored for this exponent",
            got=settings.exponent,
            expected=f"one of {', '.join(map(str, exponents))}",
        )
    return store


def _relabelled(manifest: DatasetManifest, settings: LabelSettings) -> DatasetManifest:
    return manifest.with_config(manifest.config | {"label": settings.model_dump(mode="json")})


def _write_missing(
    source: DatasetStore,
    target: DatasetStore,
    settings: LabelSettings,
    num_workers: int | None,
    executor: WorkerSettings,
) -> None:
    missing = target.missing_shards()
    if not missing:
        return
    if executor.executor == "ray":
        written = _in_ray(source, target, missing, settings, num_workers=num_workers, address=executor.address)
    elif (processes := min(num_workers or torch.get_num_threads(), len(missing))) == 1:
        written = (relabel_shard(source, target, shard, settings) for shard in missing)
    else:
        written = _in_processes(source, target, missing, settings, processes)
    done = len(target) - target.count(missing)
    with progress("Relabel", len(target), "images", done=done) as advance:
        for count in written:
            advance(count)


def _in_ray(
    source: DatasetStore,
    target: DatasetStore,
    shards: list[int],
    settings: LabelSettings,
    *,
    num_workers: int | None,
    address: str | None,
) -> Iterator[int]:
    """Relabel shards in the workers of a Ray cluster; yields the number of samples of each when it is written."""
    from dataset_diffusion.machine.ray_pool import work_in_ray

    relabelled = work_in_ray(
        shards,
        partial(_prepare_ray_worker, source.path.resolve(), target.path.resolve(), settings),
        name=lambda shard: f"shard {shard}",
        num_workers=num_workers,
        address=address,
        device="cpu",
        threads=1,
    )
    for _, count in relabelled:
        yield count
    clear_leftovers(target.path / "shards")


def _prepare_ray_worker(source: Path, target: Path, settings: LabelSettings, device: str) -> Callable[[int], int]:
    stores = DatasetStore.open(source), DatasetStore.open(target)
    return lambda shard: relabel_shard(*stores, shard, settings)


def _in_processes(
    source: DatasetStore, target: DatasetStore, shards: list[int], settings: LabelSettings, processes: int
) -> Iterator[int]:
    """Relabel shards in processes of their own; yields the number of samples of each when it is written."""
    # Spawned, since a fork of a process in which torch has computed can hang.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_prepare_worker)
    try:
        jobs = [pool.submit(relabel_shard, source, target, shard, settings) for shard in shards]
        for job in as_completed(jobs):
            yield job.result()
    except BrokenProcessPool as error:
        raise DatasetError(
            "a worker process was killed",
            got=f"{processes} workers",
            fix="run the command again with fewer --num-workers",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """One thread; Ctrl-C is for the parent to act on, and without the parent there is nothing left to do."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), _exit(1)), daemon=True).start()


def relabel_shard(source: DatasetStore, target: DatasetStore, shard: int, settings: LabelSettings) -> int:
    """Write a shard of ``target``: the one of ``source`` with other labels.

    Returns:
        Its number of samples.
    """
    table, count = source.read_table(shard), len(source.shard_range(shard))
    check_pictures(table, ("image",), source.location)
    columns: dict[str, list[object]] = {"label": [], "quality": [], "label_sha256": []}
    for row in range(count):
        label, scores = _relabel({name: table[name][row] for name in table.column_names}, source, settings)
        columns["label"].append({"bytes": label, "path": table["label"][row]["path"].as_py()})
        columns["quality"].append(scores)
        columns["label_sha256"].append(sha256(label))
    target.write_rows(shard, with_columns(table, columns))
    return count


def _relabel(row: dict[str, pa.Scalar], store: DatasetStore, settings: LabelSettings) -> tuple[bytes, object]:
    """The encoded label map and the scores of a row."""
    heatmaps = decode_heatmaps(row)
    if heatmaps is None:
        raise DatasetError(f"sample {row['index'].as_py()} of {store.location} has no heatmaps to label from")
    classes, data = row["classes"].as_py(), row["image"]["bytes"].as_py()
    image = decode_image(data) if settings.refine != "none" else None
    label = label_map(heatmaps, classes, picture_size(data), settings, image=image)
    return encode_label(label, store.class_set), encode_scores(quality_scores(label, classes, heatmaps))
