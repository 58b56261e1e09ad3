"""What a recipe would do and cost, before any of it is done. Reads the recipe and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from dataset_diffusion.config import (
    NO_BENCHMARK,
    STORED_EXPONENTS,
    PositiveFloat,
    RunConfig,
    Settings,
    TrainSettings,
    as_config_error,
)
from dataset_diffusion.diffusion.specs import MODELS, GenerationPlan
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.prompts.class_sets import resolve_classes
from dataset_diffusion.segmentation.models import build_segmenter

BYTES_PER_PIXEL = {"png": 1.6, "jpeg": 0.5}
"""Of 20 COCO photos at 512 x 512 pixels, as a dataset stores them."""
LABEL_BYTES_PER_PIXEL = 0.02
CLASSES_PER_IMAGE = 1.5
COUNTED_SIZE = 128
"""Pixels of the image that a segmenter's operations are counted on; they grow with the area."""
TRAINING_PASSES = 3
"""A training step is a forward pass and a backward pass of twice its operations."""


class Costs(Settings):
    """How fast a device is at the two things that take long, as `benchmarks/training_cost.py` measures them."""

    device: str = "an A100"
    """What was measured."""
    draw_tflops: PositiveFloat = 40.0
    """Operations a second while images are drawn, in TFLOP/s."""
    train_tflops: PositiveFloat = 40.0
    """Operations a second while a segmenter is trained, in TFLOP/s."""


@dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    Attributes:
        generate_hours: on the device; None for a model whose operations are not known.
        train_hours: all rounds and turns, labelling between them included.
        dataset_bytes: images, label maps and heatmaps.
        model_bytes: weights of all rounds and turns, and one checkpoint.
    """

    generate_hours: float | None
    train_hours: float
    dataset_bytes: int
    model_bytes: int


def read_costs(file: Path | None) -> Costs:
    """Measured costs, or without a file the assumed ones."""
    if file is None:
        return Costs()
    try:
        measured = json.loads(file.read_bytes())
        return Costs.model_validate({key: measured[key] for key in Costs.model_fields})
    except ValidationError as error:
        raise as_config_error(error, file) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "cannot read the costs", got=f"{file}: {error}", fix="python -m benchmarks.training_cost --out costs.json"
        ) from error


def estimate(config: RunConfig, costs: Costs) -> Estimate:
    """Hours and bytes of a run."""
    spec, generation, train = MODELS.get(config.generate.model), _generation_plan(config), config.train
    height, width = generation.height, generation.width
    count = config.prompts.num_images + config.redraw.rounds * config.redraw.num_images
    pixels = count * height * width
    generate_hours = None
    if spec is not None and spec.tflop is not None:
        passes = generation.num_calls * (2 if generation.guidance_scale > 1 else 1)
        generate_hours = pixels / (spec.height * spec.width) * passes * spec.tflop / costs.draw_tflops / 3600
    tflop, parameters = _segmenter_cost(train, len(resolve_classes(config.prompts.classes).label_ids))
    crop_pixels = (train.crop_size or min(height, width)) ** 2
    trainings = (train.self_training + 1) * (config.redraw.rounds + 1) + config.calibrate.turns
    trained = trainings * train.iterations * train.batch_size * crop_pixels * TRAINING_PASSES
    looks = 1 if train.self_training_method == "published" else 2  # each image and its mirror image
    labelled = (train.self_training * (config.redraw.rounds + 1) + config.redraw.rounds) * pixels * looks
    heatmaps = len(STORED_EXPONENTS) * CLASSES_PER_IMAGE * (height // 16) * (width // 16) * 2
    stored = BYTES_PER_PIXEL[config.generate.image_format] + LABEL_BYTES_PER_PIXEL
    return Estimate(
        generate_hours=generate_hours,
        train_hours=(trained + labelled) / COUNTED_SIZE**2 * tflop / costs.train_tflops / 3600,
        dataset_bytes=round(pixels * stored + count * heatmaps),
        # A checkpoint holds the weights, their average and two moments of the gradient.
        model_bytes=4 * parameters * (trainings + 4),
    )


def plan(config: RunConfig, out: Path, costs: Costs) -> Iterator[str]:
    """The stages of a run and what they cost, line by line; unknown classes or segmenters are refused."""
    train, cost, generation = config.train, estimate(config, costs), _generation_plan(config)
    num_classes = resolve_classes(config.prompts.classes).num_classes
    captions = config.prompts.captions or "templates"
    yield f"prompts   {config.prompts.num_images:,} prompts of {num_classes} classes, from {captions}"
    steps = generation.steps if config.generate.model in MODELS else config.generate.steps or "its own"
    size = f"{generation.width} x {generation.height} pixels"
    hours = "unknown, no operations counted for this model"
    if cost.generate_hours is not None:
        hours = _hours(cost.generate_hours)
    yield f"generate  {config.generate.model}, {size}, {steps} steps: {hours}"
    if turns := config.calibrate.turns:
        yield f"calibrate turns: {turns}, each a segmenter, a reading and all labels anew"
    if config.filter.rules:
        yield f"filter    {', '.join(config.filter.rules)}"
    if redraw := config.redraw.rounds:
        more = f"{config.redraw.num_images:,} more pictures of what the segmenter is weak at"
        yield f"redraw    rounds: {redraw}, each {more}"
    rounds = f", self-training rounds: {train.self_training}" if train.self_training else ""
    training = f"{train.segmenter}, {train.iterations:,} steps of {train.batch_size} images{rounds}"
    yield f"train     {training}: {_hours(cost.train_hours)}"
    yield f"evaluate  {'nothing' if config.evaluate.benchmark == NO_BENCHMARK else config.evaluate.benchmark}"
    dataset, weights = f"{cost.dataset_bytes / 1e9:.1f} GB", f"{cost.model_bytes / 1e9:.1f} GB"
    yield f"disk      {dataset} of dataset and {weights} of weights in {out}"
    if cost.generate_hours is not None:
        yield f"in all    {_hours(cost.generate_hours + cost.train_hours)}, without the evaluation"
    source = "assumed; see benchmarks/training_cost.py to measure yours" if costs == Costs() else "measured"
    speed = f"{costs.draw_tflops:g} TFLOP/s drawing and {costs.train_tflops:g} training"
    yield f"at        {speed} on {costs.device} ({source})"
    for path in (config.prompts.captions, config.evaluate.root, train.real_root):
        if path is not None and not path.exists():
            yield f"missing   {path}"


def _generation_plan(config: RunConfig) -> GenerationPlan:
    """As if it were Stable Diffusion, where the model is not in the table: its files are not looked at."""
    return MODELS.get(config.generate.model, MODELS["sd21-base"]).resolve(config.generate)


def _segmenter_cost(settings: TrainSettings, num_classes: int) -> tuple[float, int]:
    """10^12 operations of a forward pass over one small image, and the number of weights."""
    segmenter = build_segmenter(settings.segmenter, num_classes).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        segmenter(torch.zeros(1, 3, COUNTED_SIZE, COUNTED_SIZE))
    return counter.get_total_flops() / 1e12, sum(weight.numel() for weight in segmenter.parameters())


def _hours(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 0.1 else f"{hours * 60:.1f} minutes"
