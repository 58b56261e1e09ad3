"""Train a segmenter on labelled images; run the same call again to resume or, once it is finished, to do nothing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.disk.atomic import explained_write_errors, find_leftovers, remove_files
from dataset_diffusion.errors import ConfigError, DatasetError, first_line
from dataset_diffusion.machine.devices import explained_memory_errors, resolve_device
from dataset_diffusion.run_folder import CHECKPOINT, DESCRIPTION
from dataset_diffusion.seeding import random_from
from dataset_diffusion.segmentation.journal import Journal, resumable_step
from dataset_diffusion.segmentation.model_folder import load_segmenter, read_description, save_segmenter
from dataset_diffusion.segmentation.models import Colour, Segmenter, build_segmenter
from dataset_diffusion.segmentation.optimization import TrainingModule, lightning_precision
from dataset_diffusion.segmentation.own_network import OwnNetworkError, is_import_path
from dataset_diffusion.segmentation.processes import lightning_devices, loader_workers, process_and_count
from dataset_diffusion.segmentation.sampling import ConsecutiveBatches, MixedDraws, Pair, TrainingDraws
from dataset_diffusion.segmentation.task import SILENT, TrainingListener, TrainingTask


def train_segmenter(task: TrainingTask, out: Path, listener: TrainingListener = SILENT) -> Path:
    """Train a segmenter and save the running average of its weights.

    Cross-entropy that ignores 255, AdamW and polynomial decay to 0 as published. The result follows from the task
    alone: a run that was stopped at any point and called again ends, on the same CPU, with the same bytes as one that
    was not. This is one round; `rounds.train_in_rounds` trains them all.

    Under ``torchrun`` every process trains on its share of each step's images.

    Args:
        task: what to train.
        out: the model folder; created, resumed, or left alone when it already holds this very model.
        listener: told of every step.

    Raises:
        ConfigError: ``out`` holds a model of other settings, or the batch cannot be divided as asked for.
        DatasetError: no data, label maps that do not fit the class set or their image, or ``out`` cannot be written.
        ModelError: unknown segmenter, unreachable pretrained weights, too little memory, or a loss that is no longer a
            number.
    """
    out = Path(out)
    if (out / DESCRIPTION).exists():
        task.identity.check(read_description(out), out)
        _tidy(out)
        return out
    _check_trainable(task)
    with explained_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    # Initial weights, dropout and crops are drawn from torch's global generator, which belongs to the caller.
    with torch.random.fork_rng(), _tamed_lightning(), enough_memory(task.settings):
        trainer, segmenter = _fit(task, out, listener)
        if trainer.is_global_zero:
            save_segmenter(segmenter, task.identity, out)
            _tidy(out)
        trainer.strategy.barrier()
    return out


def _tidy(out: Path) -> None:
    """Remove what a finished model has no need of; whoever was killed before this may have left it."""
    remove_files([out / CHECKPOINT, *chain.from_iterable(find_leftovers(out).values())])


def _fit(task: TrainingTask, out: Path, listener: TrainingListener) -> tuple[Trainer, Segmenter]:
    settings, start_step = task.settings, resumable_step(out, task.identity)
    untrained = _untrained(task)
    module = TrainingModule(untrained, settings, task.seed)
    where, crop_size = resolve_device(task.device), _crop_size(task)
    trainer = Trainer(
        **lightning_devices(where),
        precision=lightning_precision(settings, where, crop_size),
        max_steps=settings.iterations,
        accumulate_grad_batches=settings.accumulate,
        callbacks=[Journal(task, out, start_step, listener)],
        default_root_dir=out,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = _loader(task, crop_size, untrained.mean, start_step, on_gpu=where.type == "cuda")
    trainer.fit(module, loader, ckpt_path=out / CHECKPOINT if start_step else None, weights_only=True)
    return trainer, cast(Segmenter, module.average.module)


def _untrained(task: TrainingTask) -> Segmenter:
    """The segmenter that training starts from."""
    torch.manual_seed(random_from(task.seed, "segmenter weights").getrandbits(63))
    settings, num_classes = task.settings, len(task.class_set.label_ids)
    segmenter = build_segmenter(settings.segmenter, num_classes, settings.pretrained and task.start is None)
    check_segmenter(segmenter, settings)
    if is_import_path(settings.segmenter):
        check_logits(segmenter, _crop_size(task))
    if task.start is not None:
        segmenter.load_state_dict(load_segmenter(task.start, "cpu").model.state_dict())
    return segmenter


def check_segmenter(segmenter: Segmenter, settings: TrainSettings) -> None:
    """Refuse settings that the segmenter cannot take."""
    if segmenter.has_own_loss and (settings.robustness or settings.weigh_pixels):
        raise ConfigError(
            f"{settings.segmenter} has a loss of its own",
            got="--robustness" if settings.robustness else "--weigh-pixels",
            fix="leave it out, or choose another --segmenter",
        )
    if settings.encoder_learning_rate_factor != 1 and segmenter.encoder is None:
        raise ConfigError(
            f"{settings.segmenter} has no encoder",
            got=f"--encoder-learning-rate-factor {settings.encoder_learning_rate_factor}",
            expected="a part of the network that is called encoder or backbone",
            fix="leave it out",
        )
    if settings.pretrained and is_import_path(settings.segmenter):
        raise ConfigError(f"{settings.segmenter} starts as it is made", got="--pretrained", fix="leave it out")


def check_logits(segmenter: Segmenter, size: tuple[int, int]) -> None:
    """Refuse a network whose logits are not "b classes h w" for images of (height, width)."""
    expected = (2, segmenter.num_classes, *size)
    was_training = segmenter.training
    try:
        with torch.inference_mode():
            shape = tuple(segmenter.eval().heads(torch.zeros(2, 3, *size))["out"].shape)
    except Exception as error:
        raise OwnNetworkError(
            f"{segmenter.name} gives no logits",
            got=f"{type(error).__name__}: {first_line(error)}",
            expected=f"a tensor of shape {expected}, or a dict that has it as `out`",
        ) from error
    finally:
        segmenter.train(was_training)
    if shape != expected:
        raise OwnNetworkError(
            f"the logits of {segmenter.name} have the wrong shape", got=shape, expected=f'{expected}, "b classes h w"'
        )


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


def _loader(
    task: TrainingTask, crop_size: tuple[int, int], mean: Colour, start_step: int, *, on_gpu: bool
) -> DataLoader[Pair]:
    """Batches of the pairs to train on, real ones mixed in where there are any."""
    settings, (rank, processes) = task.settings, process_and_count()
    num_ids = len(task.class_set.label_ids)
    options: dict[str, Any] = {
        "augmentation": settings.augmentation,
        "mean": mean,
        "weighted": settings.weigh_pixels,
    }
    draws: Dataset[Pair] = TrainingDraws(task.data, num_ids, crop_size, task.seed, **options)
    if task.real is not None:
        real = TrainingDraws(task.real, num_ids, crop_size, task.seed, **options)
        draws = MixedDraws(draws, real, settings.real_ratio)
    batches = ConsecutiveBatches(
        settings.batch_size, start_step, parts=settings.accumulate, process=rank, num_processes=processes
    )
    # On the CPU the network needs every core; beside a GPU, decoding and augmentation are what it would wait for.
    workers = loader_workers() if on_gpu else 0
    return DataLoader(draws, batch_sampler=batches, num_workers=workers, pin_memory=on_gpu)


def _crop_size(task: TrainingTask) -> tuple[int, int]:
    if task.settings.crop_size is not None:
        return task.settings.crop_size, task.settings.crop_size
    height, width = task.data[0][1].shape[-2:]
    return height, width


def _check_trainable(task: TrainingTask) -> None:
    if not len(task.data):
        raise DatasetError("nothing to train on", got="a dataset of 0 images", fix="generate some first")
    settings, (_, processes) = task.settings, process_and_count()
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
