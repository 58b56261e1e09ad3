"""The weights of layers and heads by which a model's attention says where classes are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dataset_diffusion.calibration.examples import Example, Split, agreement, evidence_of
from dataset_diffusion.calibration.passes import Pass, keep_pass
from dataset_diffusion.calibration.thresholds import THRESHOLDS, TRIED_EXPONENTS, choose_on_split
from dataset_diffusion.config import LabelSettings, LearnSettings
from dataset_diffusion.diffusion.learned import cell_features, fit, read_layers, unlearned
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.pictures import read_each
from dataset_diffusion.diffusion.specs import model_fingerprint
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.labelling.assign import UNCERTAIN
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.machine.progress import Advance, progress
from dataset_diffusion.reading import LearnedLayers, Reading
from dataset_diffusion.records import AttentionMaps, LayerMaps

AnyMaps = TypeVar("AnyMaps", AttentionMaps, LayerMaps)


def learn_reading(
    model: DiffusionModel,
    examples: Sequence[Example],
    settings: LearnSettings,
    seed: int,
    *,
    features: LearnedLayers | None = None,
    passes: Path | None = None,
) -> Reading:
    """A reading that says of the examples what their targets say, and its scores beside those that average.

    Every choice (noise level, exponent, thresholds) is made on the pictures that the weights are fitted on; the scores
    are of the others.

    Args:
        model: whose attention is read.
        examples: at least 8.
        settings: noise levels to try, refinement, share of uncertain pixels, share of pictures kept back.
        seed: of the split and of the first weights.
        features: what the weights see, as `unlearned` makes it; None takes every layer and head and all features.
        passes: folder of this very call, to keep every pass over the pictures in, so that a call after a kill goes on;
            None keeps nothing.
    """
    if len(examples) < 8:
        raise ConfigError("too few pictures to learn a reading from", got=len(examples), expected="at least 8")
    order = np.random.default_rng(seed).permutation(len(examples)).tolist()
    kept = num_kept_back(len(examples), settings)
    split = Split(examples, order[kept:], order[:kept])
    plain = model.spec.resolve_reading("plain")
    learned = plain.model_copy(
        update={
            "model": model_fingerprint(model.spec),
            "cross_attention": features or unlearned(model.cross_attention_heads()),
            "when": "drawn",
        }
    )
    others = [model.spec.resolve_reading(name) for name in ("published", "plain")] if split.back else []
    levels = [learned.model_copy(update={"timesteps": (level,)}) for level in settings.timesteps]

    def file_of(name: str) -> Path | None:
        return None if passes is None else passes / f"{name}.npz"

    names = [f"level-{level}" for level in settings.timesteps] + [other.name for other in others]
    done = sum(file is not None and file.exists() for file in map(file_of, names))
    num_looks = len(examples) * len(names)
    with progress("Read the attention of pictures", num_looks, "pictures", done=len(examples) * done) as advance:
        tried = [
            keep_pass(file_of(name), partial(_learn_level, model, split, level, seed, advance))
            for name, level in zip(names, levels, strict=False)
        ]
        averaged = {
            other.name: keep_pass(file_of(other.name), partial(_average, model, other, examples, advance))
            for other in others
        }
    best = max(tried, key=lambda one: one.score)
    maps = {name: one.heatmaps for name, one in averaged.items()}
    maps["learned"] = best.heatmaps
    with progress(
        "Try thresholds for the labels", len(examples) * len(maps) * len(TRIED_EXPONENTS), "pictures"
    ) as advance:
        chosen = {name: choose_on_split(heatmaps, split, settings, advance) for name, heatmaps in maps.items()}
    scores = {name: score for name, (_, score) in chosen.items()} if split.back else {}
    return best.reading.model_copy(update={"label": chosen["learned"][0], "scores": scores})


def weigh(reading: Reading, maps: Sequence[LayerMaps], examples: Sequence[Example], seed: int) -> Reading:
    """The reading with weights by which the maps of examples say what their targets say."""
    features = reading.cross_attention
    assert isinstance(features, LearnedLayers)
    cells = [_cells(one, example, features) for one, example in zip(maps, examples, strict=True)]
    columns, coverage, weight = (torch.cat(part) for part in zip(*cells, strict=True))
    return reading.model_copy(update={"cross_attention": fit(columns, coverage, features, weight=weight, seed=seed)})


def _learn_level(model: DiffusionModel, split: Split, reading: Reading, seed: int, advance: Advance) -> Pass:
    """Fit the weights at one noise level; the score is on the fitted pictures, unrefined."""
    examples, fitted = split.examples, split.fitted
    maps = list(_read(examples, partial(model.attend_layers, reading=reading), advance))
    learned = weigh(reading, [maps[index] for index in fitted], [examples[index] for index in fitted], seed)
    assert isinstance(learned.cross_attention, LearnedLayers)
    heatmaps = [class_heatmaps(read_layers(one, learned.cross_attention), TRIED_EXPONENTS) for one in maps]
    plain = LabelSettings(exponent=0)
    shown = {index: evidence_of(heatmaps[index], examples[index], plain) for index in fitted}
    score = max(agreement(shown, examples, fitted, cut, cut)[0] for cut in THRESHOLDS)
    return Pass(learned, heatmaps, score)


def _average(model: DiffusionModel, reading: Reading, examples: Sequence[Example], advance: Advance) -> Pass:
    """What a reading that averages says of the examples."""
    maps = _read(examples, partial(model.attend, capture=reading), advance)
    return Pass(reading, [class_heatmaps(one, TRIED_EXPONENTS) for one in maps])


def _cells(maps: LayerMaps, example: Example, features: LearnedLayers) -> tuple[Tensor, Tensor, Tensor]:
    """Features, coverage and weight of every class and cell of a picture. Words after the classes only compete."""
    columns = cell_features(maps.cross_attention, features)[: len(example.classes)]
    known = torch.from_numpy((example.target != UNCERTAIN).astype(np.float32))
    covered = torch.stack([torch.from_numpy((example.target == one).astype(np.float32)) for one in example.classes])
    size = (columns.shape[-2], columns.shape[-1])
    weight = functional.adaptive_avg_pool2d(known[None], size).expand(len(covered), -1, -1)
    coverage = functional.adaptive_avg_pool2d(covered, size) / weight.clamp_min(1e-6)
    return columns.permute(0, 2, 3, 1).flatten(0, 2), coverage.clamp(0, 1).flatten(), weight.flatten()


def _read(
    examples: Sequence[Example], read: Callable[..., list[AnyMaps]], advance: Advance, batch_size: int = 16
) -> Iterator[AnyMaps]:
    for one in read_each((example.picture for example in examples), read, batch_size):
        advance()
        yield one


def num_kept_back(count: int, settings: LearnSettings) -> int:
    """How many of ``count`` pictures nothing is learned from."""
    return round(count * settings.kept_back)
