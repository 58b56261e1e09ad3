"""One training step: loss, optimiser, schedule, clipping and the running average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.seeding import random_from
from dataset_diffusion.segmentation.models import Segmenter

POLY_POWER = 0.9

SMALLEST_BFLOAT16_CROP = 32
"""Pixels. Below, and with several threads, oneDNN's bfloat16 gradient of a strided 3x3 convolution (of 1x1 maps) is
garbage now and then (torch 2.15): one in three steps of a ResNet-18 U-Net on 16-pixel images ended in NaN."""

SLOW_IN_BFLOAT16 = ("unet-efficientnet-lite0",)
"""Their depthwise convolutions take a CPU several times longer in bfloat16 than in float32."""

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


class TrainingModule(LightningModule):  # type: ignore[misc]
    """What Lightning runs: it trains ``segmenter``; ``average``, the running average of its weights, is saved."""

    def __init__(self, segmenter: Segmenter, settings: TrainSettings, seed: int) -> None:
        super().__init__()
        self.segmenter = segmenter
        self._settings = settings
        self._seed = seed
        average = get_ema_multi_avg_fn(settings.ema_decay)  # type: ignore[no-untyped-call]
        # Buffers too: batch statistics of the last weights do not fit the averaged ones.
        self.average = AveragedModel(segmenter, multi_avg_fn=average, use_buffers=True).requires_grad_(False)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        # One seed a batch, so that dropout after a resume is what it would have been.
        place = (self.global_step, batch_idx % self._settings.accumulate, self.global_rank)
        torch.manual_seed(random_from(self._seed, "segmenter step", *place).getrandbits(63))
        images, labels = batch
        weights = None
        if labels.ndim == 4:
            labels, weights = labels.unbind(dim=1)
        return self.segmenter.loss(images.float() / 255, labels, weights, self._settings.robustness)

    def configure_optimizers(self) -> dict[str, Any]:
        settings = self._settings
        encoder = dict.fromkeys(() if self.segmenter.encoder is None else self.segmenter.encoder.parameters())
        others = [weight for weight in self.segmenter.parameters() if weight not in encoder]
        encoder_rate = settings.learning_rate * settings.encoder_learning_rate_factor
        groups: list[dict[str, Any]] = [{"params": others}, {"params": list(encoder), "lr": encoder_rate}]
        # A fused optimiser unscales the gradients of a float16 training itself, after they have been clipped.
        fused = settings.precision != "fp16"
        optimizer = torch.optim.AdamW(
            groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused
        )
        schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, settings.iterations, POLY_POWER)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        # Lightning's own clipping refuses a fused optimiser, which on the CPU takes a third of the time.
        torch.nn.utils.clip_grad_norm_(self.segmenter.parameters(), self._settings.gradient_clip)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.segmenter)


def lightning_precision(settings: TrainSettings, device: torch.device, crop_size: tuple[int, int]) -> str:
    """Lightning's name of the precision asked for.

    By default mixed bfloat16 where the hardware has it (emulated, it is slower than float32), else float32.
    """
    if settings.precision is not None:
        return _PRECISIONS[settings.precision]
    slow = device.type == "cpu" and settings.segmenter in SLOW_IN_BFLOAT16
    if slow or min(crop_size) < SMALLEST_BFLOAT16_CROP:
        return _PRECISIONS["fp32"]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    return _PRECISIONS["bf16" if fast else "fp32"]
