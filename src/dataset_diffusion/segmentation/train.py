"""Train a segmenter on labelled images; run the same call again to resume or, once it is finished, to do nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.dataset.files import atomic_write, explained_write_errors, remove_leftovers
from dataset_diffusion.devices import resolve_device
from dataset_diffusion.errors import ConfigError, DatasetError, ModelError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.seeding import sample_random
from dataset_diffusion.segmentation.model_folder import (
    CHECKPOINT,
    DESCRIPTION,
    TRAINING_LOG,
    WEIGHTS,
    Identity,
    read_description,
    save_segmenter,
)
from dataset_diffusion.segmentation.models import Segmenter, build_segmenter
from dataset_diffusion.segmentation.sampling import ConsecutiveBatches, LabelledImages, TrainingDraws

POLY_POWER = 0.9
GRADIENT_CLIP = 0.01
"""Largest norm of the gradient (the published recipe's; AdamW makes up for the scale)."""

SMALLEST_BFLOAT16_CROP = 32
"""Pixels. Below, and with several threads, oneDNN's bfloat16 gradient of a strided 3x3 convolution (of 1x1 maps) is
garbage now and then (torch 2.15): one in three steps of a ResNet-18 U-Net on 16-pixel images ended in NaN."""

OnStep = Callable[[int, int, float], None]
"""Called after every step with (steps done, steps in all, loss)."""


def train_segmenter(
    data: LabelledImages,
    class_set: ClassSet,
    settings: TrainSettings,
    out: Path,
    seed: int,
    *,
    data_id: str = "",
    on_step: OnStep | None = None,
    checkpoint_every: int = 200,
    device: str | None = None,
) -> Path:
    """Train a segmenter and save the running average of its weights.

    Cross-entropy that ignores 255, AdamW and polynomial decay to 0 as published, crops of the first image's size. The
    result follows from the arguments alone: a run that was stopped at any point and called again ends, on the same CPU,
    with the same bytes as one that was not.

    Args:
        data: images "3 h w" (uint8, or floats in [0, 1]) and label maps "h w" (0 background, 1..K, 255 ignored). Every
            draw reads it: on the CPU keep it in memory (``SegmentationData(..., preload=True)``) where it fits.
        class_set: what the ids mean.
        settings: segmenter and hyperparameters.
        out: the model folder; created, resumed, or left alone when it already holds this very model.
        seed: the run's seed.
        data_id: what identifies the data, such as a hash; a folder trained on other data is refused.
        on_step: progress.
        checkpoint_every: steps between checkpoints.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None takes the best one there is.

    Returns:
        ``out``; ``load_segmenter`` reads it.

    Raises:
        ConfigError: ``out`` holds a model of other settings, or a batch of one image is asked for.
        DatasetError: no data, label maps that do not fit the class set or their image, or ``out`` cannot be written.
        ModelError: unknown segmenter, unreachable pretrained weights, or a loss that is no longer a number.
    """
    out = Path(out)
    identity = Identity(class_set, settings, seed, len(data), data_id)
    if (out / DESCRIPTION).exists():
        identity.check(read_description(out), out)
        return out
    _check_trainable(data, settings)
    with explained_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    # Initial weights, dropout and crops are drawn from torch's global generator, which belongs to the caller.
    with torch.random.fork_rng():
        segmenter = _fit(data, identity, out, on_step=on_step, checkpoint_every=checkpoint_every, device=device)
    save_segmenter(segmenter, identity, out)
    (out / CHECKPOINT).unlink(missing_ok=True)
    for name in (CHECKPOINT, TRAINING_LOG, WEIGHTS, DESCRIPTION):
        remove_leftovers(out / name)
    return out


class _Training(LightningModule):  # type: ignore[misc]
    """Loss, optimiser and running average of the weights."""

    def __init__(self, segmenter: Segmenter, identity: Identity) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.identity = identity
        average = get_ema_multi_avg_fn(identity.settings.ema_decay)  # type: ignore[no-untyped-call]
        # Buffers too: batch statistics of the last weights do not fit the averaged ones.
        self.average = AveragedModel(segmenter, multi_avg_fn=average, use_buffers=True)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        # One seed a step, so that dropout after a resume is what it would have been.
        torch.manual_seed(sample_random(self.identity.seed, "segmenter step", self.global_step).getrandbits(63))
        images, labels = batch
        return self.segmenter.loss(images.float() / 255, labels, self.identity.class_set.ignore_index)

    def configure_optimizers(self) -> dict[str, Any]:
        settings = self.identity.settings
        optimizer = torch.optim.AdamW(
            self.segmenter.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, settings.iterations, POLY_POWER)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        # Lightning's own clipping refuses a fused optimiser, which on the CPU takes a third of the time.
        torch.nn.utils.clip_grad_norm_(self.segmenter.parameters(), GRADIENT_CLIP)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.segmenter)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"] = self.identity.to_json()


class _Journal(Callback):  # type: ignore[misc]
    """Training log, progress and checkpoints, in this order after every step."""

    def __init__(self, out: Path, start_step: int, checkpoint_every: int, on_step: OnStep | None) -> None:
        self._checkpoint = out / CHECKPOINT
        self._every = checkpoint_every
        self._on_step = on_step
        self._learning_rate = math.nan
        self._log = out / TRAINING_LOG
        # What was logged after the last checkpoint is about to be trained, and logged, again.
        entries = self._log.read_bytes().splitlines(keepends=True) if self._log.exists() else []
        atomic_write(self._log, b"".join(entries[:start_step]))

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        self._learning_rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: dict[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        step, loss = trainer.global_step, float(outputs["loss"])
        if not math.isfinite(loss):
            raise ModelError("training diverged", got=f"loss {loss} at step {step}", fix="lower --learning-rate")
        entry = {"step": step, "loss": loss, "learning_rate": self._learning_rate}
        with explained_write_errors(self._log), self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        if self._on_step is not None:
            self._on_step(step, trainer.max_steps, loss)
        if step % self._every == 0:
            with explained_write_errors(self._checkpoint):
                _save_checkpoint(trainer, self._checkpoint)


def _save_checkpoint(trainer: Trainer, path: Path) -> None:
    # Lightning writes to the system's temporary folder and moves the file, which across file systems is a copy.
    temporary = path.with_name(f".{path.name}.whole.tmp")
    try:
        trainer.save_checkpoint(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _fit(
    data: LabelledImages,
    identity: Identity,
    out: Path,
    *,
    on_step: OnStep | None,
    checkpoint_every: int,
    device: str | None,
) -> Segmenter:
    settings, num_classes = identity.settings, identity.class_set.num_classes + 1
    start_step = _resumable_step(out, identity)
    torch.manual_seed(sample_random(identity.seed, "segmenter weights").getrandbits(63))
    training = _Training(build_segmenter(settings.segmenter, num_classes, settings.pretrained), identity)
    where, crop_size = resolve_device(device), tuple(data[0][1].shape)
    with _tamed_lightning():
        trainer = Trainer(
            accelerator=where.type,
            devices=[where.index or 0] if where.type == "cuda" else 1,
            precision=_precision(where, crop_size),
            max_steps=settings.iterations,
            callbacks=[_Journal(out, start_step, checkpoint_every, on_step)],
            default_root_dir=out,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loader = _loader(data, identity, crop_size, start_step, on_gpu=where.type == "cuda")
        trainer.fit(training, loader, ckpt_path=out / CHECKPOINT if start_step else None, weights_only=True)
    return cast(Segmenter, training.average.module)


def _loader(
    data: LabelledImages, identity: Identity, crop_size: tuple[int, int], start_step: int, *, on_gpu: bool
) -> DataLoader[Any]:
    # On the CPU the network needs every core; beside a GPU, decoding and augmentation are what it would wait for.
    workers = min(8, os.cpu_count() or 1) if on_gpu else 0
    draws = TrainingDraws(
        data,
        identity.class_set.num_classes + 1,
        crop_size=crop_size,
        seed=identity.seed,
        ignore_index=identity.class_set.ignore_index,
        augmentation=identity.settings.augmentation,
    )
    batches = ConsecutiveBatches(identity.settings.batch_size, start_step)
    return DataLoader(draws, batch_sampler=batches, num_workers=workers, pin_memory=on_gpu)


def _precision(device: torch.device, crop_size: tuple[int, int]) -> str:
    """Mixed bfloat16 where the hardware has it (emulated, it is slower than float32), else float32."""
    if min(crop_size) < SMALLEST_BFLOAT16_CROP:
        return "32-true"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "bf16-mixed" if fast else "32-true"


def _resumable_step(out: Path, identity: Identity) -> int:
    """Step of the checkpoint in a folder, 0 without one."""
    path = out / CHECKPOINT
    if not path.exists():
        return 0
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        begun, step = checkpoint["identity"], int(checkpoint["global_step"])
    except (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, TypeError) as error:
        raise ModelError(
            f"cannot resume from {path}", got=type(error).__name__, fix="delete it to start afresh"
        ) from error
    identity.check(begun, out)
    return step


def _check_trainable(data: LabelledImages, settings: TrainSettings) -> None:
    if not len(data):
        raise DatasetError("nothing to train on", got="a dataset of 0 images", fix="generate some first")
    if settings.batch_size == 1:
        raise ConfigError("batch normalisation has nothing to average", got="batch_size 1", expected="2 or more")


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
