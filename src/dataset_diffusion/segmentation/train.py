"""Train a segmenter on labelled images; run the same call again to resume or, once it is finished, to do nothing."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.disk.atomic import explained_write_errors, find_leftovers, remove_files
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.machine.devices import explained_memory_errors, resolve_device
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import CHECKPOINT, DESCRIPTION
from dataset_diffusion.seeding import random_from
from dataset_diffusion.segmentation.journal import Journal, OnStep, resumable_step
from dataset_diffusion.segmentation.model_folder import Identity, load_segmenter, read_description, save_segmenter
from dataset_diffusion.segmentation.models import Segmenter, build_segmenter
from dataset_diffusion.segmentation.optimization import Training, lightning_precision
from dataset_diffusion.segmentation.sampling import ConsecutiveBatches, LabelledImages, MixedDraws, TrainingDraws


def train_segmenter(
    data: LabelledImages,
    class_set: ClassSet,
    settings: TrainSettings,
    out: Path,
    seed: int,
    *,
    real: LabelledImages | None = None,
    start: Path | None = None,
    data_id: str = "",
    on_step: OnStep | None = None,
    checkpoint_every: int = 200,
    device: str | None = None,
) -> Path:
    """Train a segmenter and save the running average of its weights.

    Cross-entropy that ignores 255, AdamW and polynomial decay to 0 as published. The result follows from the arguments
    alone: a run that was stopped at any point and called again ends, on the same CPU, with the same bytes as one that
    was not. ``settings.self_training`` is only noted here; ``self_training.train_in_rounds`` acts on it.

    Under ``torchrun`` every process trains on its share of each step's images.

    Args:
        data: images "3 h w" (uint8, or floats in [0, 1]) and label maps "h w" (0 background, 1..K, 255 ignored). Every
            draw reads it: on the CPU keep it in memory (``SegmentationData(..., preload=True)``) where it fits.
        class_set: what the ids mean.
        settings: segmenter and hyperparameters.
        out: the model folder; created, resumed, or left alone when it already holds this very model.
        seed: the run's seed.
        real: other images, mixed in with the share ``settings.real_ratio``.
        start: folder of a model of the same segmenter to go on from; None takes random weights, or pretrained ones.
        data_id: what identifies the data, such as a hash; a folder trained on other data is refused.
        on_step: progress.
        checkpoint_every: steps between checkpoints.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None takes the best one there is.

    Returns:
        ``out``; ``load_segmenter`` reads it.

    Raises:
        ConfigError: ``out`` holds a model of other settings, or the batch cannot be divided as asked for.
        DatasetError: no data, label maps that do not fit the class set or their image, or ``out`` cannot be written.
        ModelError: unknown segmenter, unreachable pretrained weights, too little memory, or a loss that is no longer a
            number.
    """
    out = Path(out)
    identity = Identity(class_set, settings, seed, len(data) + (0 if real is None else len(real)), data_id)
    if (out / DESCRIPTION).exists():
        identity.check(read_description(out), out)
        return out
    _check_trainable(data, settings)
    with explained_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    # Initial weights, dropout and crops are drawn from torch's global generator, which belongs to the caller.
    with torch.random.fork_rng(), _tamed_lightning(), enough_memory(settings):
        trainer, segmenter = _fit(
            data, real, identity, out, start=start, on_step=on_step, checkpoint_every=checkpoint_every, device=device
        )
        if trainer.is_global_zero:
            save_segmenter(segmenter, identity, out)
            (out / CHECKPOINT).unlink(missing_ok=True)
            remove_files(chain.from_iterable(find_leftovers(out).values()))
        trainer.strategy.barrier()
    return out


def _fit(
    data: LabelledImages,
    real: LabelledImages | None,
    identity: Identity,
    out: Path,
    *,
    start: Path | None,
    on_step: OnStep | None,
    checkpoint_every: int,
    device: str | None,
) -> tuple[Trainer, Segmenter]:
    settings, num_classes = identity.settings, identity.class_set.num_classes + 1
    start_step = resumable_step(out, identity)
    torch.manual_seed(random_from(identity.seed, "segmenter weights").getrandbits(63))
    segmenter = build_segmenter(settings.segmenter, num_classes, settings.pretrained and start is None)
    if start is not None:
        segmenter.load_state_dict(load_segmenter(start, "cpu").model.state_dict())
    training = Training(segmenter, settings, identity.seed, identity.class_set.ignore_index)
    where, crop_size = resolve_device(device), _crop_size(data, settings)
    trainer = Trainer(
        **_devices(where),
        precision=lightning_precision(settings, where, crop_size),
        max_steps=settings.iterations,
        accumulate_grad_batches=settings.accumulate,
        callbacks=[Journal(out, identity, start_step, checkpoint_every, on_step)],
        default_root_dir=out,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    draws = _draws(data, crop_size, identity)
    if real is not None:
        draws = MixedDraws(draws, _draws(real, crop_size, identity), settings.real_ratio)
    loader = _loader(draws, settings, start_step, on_gpu=where.type == "cuda")
    trainer.fit(training, loader, ckpt_path=out / CHECKPOINT if start_step else None, weights_only=True)
    return trainer, cast(Segmenter, training.average.module)


def enough_memory(settings: TrainSettings) -> AbstractContextManager[None]:
    """Say what to change where there is too little memory."""
    return explained_memory_errors(
        f"to train on {images_at_once(settings)} images at once",
        fix=f"--accumulate {2 * settings.accumulate} for steps in more parts, a smaller --batch-size or --crop-size",
    )


def images_at_once(settings: TrainSettings) -> int:
    """How many images are in one process's memory."""
    _, processes = process_and_count()
    return settings.batch_size // (settings.accumulate * processes)


def _draws(data: LabelledImages, crop_size: tuple[int, int], identity: Identity) -> Any:
    return TrainingDraws(
        data,
        identity.class_set.num_classes + 1,
        crop_size=crop_size,
        seed=identity.seed,
        ignore_index=identity.class_set.ignore_index,
        augmentation=identity.settings.augmentation,
    )


def _loader(draws: Any, settings: TrainSettings, start_step: int, *, on_gpu: bool) -> DataLoader[Any]:
    rank, processes = process_and_count()
    batches = ConsecutiveBatches(
        settings.batch_size, start_step, parts=settings.accumulate, process=rank, num_processes=processes
    )
    # On the CPU the network needs every core; beside a GPU, decoding and augmentation are what it would wait for.
    workers = loader_workers() if on_gpu else 0
    return DataLoader(draws, batch_sampler=batches, num_workers=workers, pin_memory=on_gpu)


def loader_workers() -> int:
    """How many of the cores that a process here may use are its own, as far as they are of use."""
    # macOS cannot bind a process to cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores // _processes_here())


def process_and_count() -> tuple[int, int]:
    """Which process of a ``torchrun`` this is, and how many there are; (0, 1) without one."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _processes_here() -> int:
    """Processes of a ``torchrun`` on this machine."""
    _, processes = process_and_count()
    return int(os.environ.get("LOCAL_WORLD_SIZE", processes))


def _devices(device: torch.device) -> dict[str, Any]:
    """Lightning's arguments for one device, or for all processes of a ``torchrun``."""
    _, processes = process_and_count()
    if processes == 1:
        return {"accelerator": device.type, "devices": [device.index or 0] if device.type == "cuda" else 1}
    here = _processes_here()
    return {
        "accelerator": device.type,
        "devices": here,
        "num_nodes": processes // here,
        "strategy": "ddp",
        # torch has synchronised batch statistics on GPUs only.
        "sync_batchnorm": device.type == "cuda",
    }


def _crop_size(data: LabelledImages, settings: TrainSettings) -> tuple[int, int]:
    if settings.crop_size is not None:
        return settings.crop_size, settings.crop_size
    height, width = data[0][1].shape
    return height, width


def _check_trainable(data: LabelledImages, settings: TrainSettings) -> None:
    if not len(data):
        raise DatasetError("nothing to train on", got="a dataset of 0 images", fix="generate some first")
    _, processes = process_and_count()
    if settings.batch_size % (settings.accumulate * processes):
        raise ConfigError(
            "the batch cannot be divided",
            got=f"batch_size {settings.batch_size}",
            expected=f"a multiple of {settings.accumulate} parts x {processes} processes",
        )
    if settings.batch_size // settings.accumulate < 2:
        raise ConfigError(
            "batch normalisation has nothing to average",
            got=f"batch_size {settings.batch_size}",
            expected=f"{2 * settings.accumulate} or more",
        )


@contextmanager
def _tamed_lightning() -> Iterator[None]:
    """Lightning as a library: no messages, and what stops a run is a KeyboardInterrupt, not the process's exit.

    By itself it answers Ctrl-C with exit status 1 and SIGTERM with 0, as if the training were done.
    """
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        logger.setLevel(level)
