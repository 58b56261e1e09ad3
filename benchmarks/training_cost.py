"""Measure how fast a device trains a segmenter and draws images, for `dataset-diffusion run CONFIG --dry-run --costs FILE`.

    python -m benchmarks.training_cost --out costs.json

Weights are random, so nothing is downloaded: what a step costs does not depend on their values.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tests.helpers.architectures import ARCHITECTURES, build_unet
from torch.utils.flop_counter import FlopCounterMode

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.machine.devices import resolve_device
from dataset_diffusion.segmentation.models import SEGMENTERS, build_segmenter
from dataset_diffusion.segmentation.optimization import TrainingModule, lightning_precision
from dataset_diffusion.stages.plan import TRAINING_PASSES

NUM_CLASSES = 21


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/costs.json"), help="file to write")
    parser.add_argument("--segmenter", default="deeplabv3-resnet101", choices=SEGMENTERS)
    parser.add_argument("--crop-size", type=int, default=512, help="pixels")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--model", default="sd21-base", choices=ARCHITECTURES, help="architecture of the UNet")
    parser.add_argument("--draw-batch-size", type=int, default=16, help="images a pass, both halves of the guidance")
    parser.add_argument("--repeat", type=int, default=10, help="steps measured, after two that are not")
    options = parser.parse_args()
    device = resolve_device(None)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    train_seconds, train_tflop = measure_training(options, device)
    draw_seconds, draw_tflop = measure_drawing(options, device)
    measured = {
        "device": name,
        "draw_tflops": draw_tflop / draw_seconds,
        "train_tflops": train_tflop / train_seconds,
        "seconds_per_training_step": train_seconds,
        "seconds_per_unet_pass": draw_seconds,
        "settings": {key: str(value) for key, value in vars(options).items()},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(measured, indent=2) + "\n")
    print(json.dumps(measured, indent=2))


def measure_training(options: argparse.Namespace, device: torch.device) -> tuple[float, float]:
    """Seconds and 10^12 operations of a training step."""
    crop, size = options.crop_size, options.batch_size
    settings = TrainSettings(segmenter=options.segmenter)
    training = TrainingModule(build_segmenter(options.segmenter, NUM_CLASSES), settings, seed=0).to(device)
    optimizer = training.configure_optimizers()["optimizer"]
    images = torch.rand((size, 3, crop, crop), device=device)
    labels = torch.randint(NUM_CLASSES, (size, crop, crop), device=device)
    mixed = lightning_precision(settings, device, (crop, crop)) != "32-true"

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            loss = training.segmenter.loss(images, labels)
        loss.backward()
        optimizer.step()

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        training.segmenter.eval()(images[:1])
    training.train()
    return seconds_of(step, options.repeat, device), TRAINING_PASSES * size * counter.get_total_flops() / 1e12


@torch.inference_mode()
def measure_drawing(options: argparse.Namespace, device: torch.device) -> tuple[float, float]:
    """Seconds and 10^12 operations of a pass of the UNet."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    unet = build_unet(options.model).eval().to(device, dtype)
    size, config = options.draw_batch_size, unet.config
    latents = torch.rand((size, config.in_channels, config.sample_size, config.sample_size), device=device, dtype=dtype)
    text = torch.rand((size, 77, config.cross_attention_dim), device=device, dtype=dtype)
    conditions = {"text_embeds": torch.rand(size, 1280), "time_ids": torch.rand(size, 6)}
    added = {key: value.to(device, dtype) for key, value in conditions.items()} if "xl" in options.model else None

    def draw() -> None:
        unet(latents, torch.tensor(500, device=device), text, added_cond_kwargs=added)

    with FlopCounterMode(display=False) as counter:
        draw()
    return seconds_of(draw, options.repeat, device), counter.get_total_flops() / 1e12


def seconds_of(step: Callable[[], None], repeat: int, device: torch.device) -> float:
    """Mean time of a step."""
    for number in range(repeat + 2):
        if number == 2:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            started = time.perf_counter()
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / repeat


if __name__ == "__main__":
    main()
