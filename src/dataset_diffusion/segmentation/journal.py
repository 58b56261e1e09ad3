"""What a training leaves on disk as it goes: a log of every step, and checkpoints to resume from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dataset_diffusion.disk.atomic import atomic_write, explained_write_errors, sync_file, sync_folder
from dataset_diffusion.errors import ModelError
from dataset_diffusion.run_folder import CHECKPOINT, TRAINING_LOG
from dataset_diffusion.segmentation.model_folder import Identity
from dataset_diffusion.segmentation.task import TrainingListener, TrainingTask


class Journal(Callback):  # type: ignore[misc]
    """Training log, progress and checkpoints, in this order after every step.

    ``start_step`` is how many steps the checkpoint in ``out`` has behind it.
    """

    def __init__(self, task: TrainingTask, out: Path, start_step: int, listener: TrainingListener) -> None:
        self._task = task
        self._checkpoint = out / CHECKPOINT
        self._log = out / TRAINING_LOG
        self._start_step = start_step
        self._listener = listener
        self._learning_rate = math.nan
        self._losses: list[float] = []

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            # What was logged after the last checkpoint is about to be trained, and logged, again.
            entries = self._log.read_bytes().splitlines(keepends=True) if self._log.exists() else []
            atomic_write(self._log, b"".join(entries[: self._start_step]))

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        self._learning_rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: dict[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        # Lightning divides the loss of each part of a step by the number of parts.
        self._losses.append(float(outputs["loss"]))
        if len(self._losses) < trainer.accumulate_grad_batches:
            return
        step, loss = trainer.global_step, math.fsum(self._losses)
        self._losses.clear()
        if not math.isfinite(loss):
            raise ModelError("training diverged", got=f"loss {loss} at step {step}", fix="lower --learning-rate")
        if trainer.is_global_zero:
            entry = {"step": step, "loss": loss, "learning_rate": self._learning_rate}
            with explained_write_errors(self._log), self._log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
        self._listener.on_step(self._task.earlier_steps + step, self._task.total_steps, loss)
        if step % self._task.checkpoint_every == 0:
            self._save_checkpoint(trainer)

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._sync_log()

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"] = self._task.identity.to_json()

    def _sync_log(self) -> None:
        with explained_write_errors(self._log), self._log.open("ab") as log:
            sync_file(log)

    def _save_checkpoint(self, trainer: Trainer) -> None:
        # Lightning writes to the system's temporary folder and moves the file, which across file systems is a copy.
        temporary = self._checkpoint.with_name(f".{self._checkpoint.name}.whole.tmp")
        with explained_write_errors(self._checkpoint):
            try:
                trainer.save_checkpoint(temporary)
                if trainer.is_global_zero:
                    self._sync_log()  # which a checkpoint takes for written
                    with temporary.open("rb") as file:
                        sync_file(file)
                    temporary.replace(self._checkpoint)
                    sync_folder(self._checkpoint.parent)
            finally:
                if trainer.is_global_zero:
                    temporary.unlink(missing_ok=True)


def resumable_step(out: Path, identity: Identity) -> int:
    """Step of the checkpoint in a folder, 0 without one. One that is damaged or of another identity is refused."""
    path = out / CHECKPOINT
    if not path.exists():
        return 0
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        begun, step = checkpoint["identity"], int(checkpoint["global_step"])
        if not isinstance(begun, dict):
            raise TypeError(f"an identity that is {type(begun).__name__}")
    except Exception as error:  # whatever unpickling comes across in damaged bytes
        raise ModelError(
            f"cannot resume from {path}", got=type(error).__name__, fix="delete it to start afresh"
        ) from error
    identity.check(begun, out)
    return step
