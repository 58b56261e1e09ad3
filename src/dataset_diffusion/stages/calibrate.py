"""The stage that learns how to read a model's attention: from a segmenter's predictions, or from labelled pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dataset_diffusion.config import (
    STORED_EXPONENTS,
    CalibrateSettings,
    GenerateSettings,
    LabelSettings,
    config_hash,
)
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.learned import cell_features, fit, read_layers, unlearned
from dataset_diffusion.diffusion.load import load_from_settings
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.pictures import Picture, read_each
from dataset_diffusion.diffusion.specs import model_fingerprint
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.evaluation.benchmark import Benchmark, BenchmarkImage
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.labelling.assign import BACKGROUND, UNCERTAIN, assign_labels, evidence
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.machine.progress import Advance, progress
from dataset_diffusion.prompts.compose import compose_prompt
from dataset_diffusion.prompts.writers.templates import template_caption
from dataset_diffusion.reading import LearnedLayers, Learning, Reading
from dataset_diffusion.records import AttentionMaps, Heatmaps, LayerMaps
from dataset_diffusion.seeding import random_from, sample_seed
from dataset_diffusion.segmentation.model_folder import load_segmenter, read_description
from dataset_diffusion.segmentation.predict import Views, confident, predict

AnyMaps = TypeVar("AnyMaps", AttentionMaps, LayerMaps)

THRESHOLDS = tuple(np.arange(0.15, 0.71, 0.05).round(2).tolist())
TRIED_EXPONENTS = STORED_EXPONENTS[:4]
BANDS = tuple(np.arange(0.0, 0.31, 0.01).round(2).tolist())
"""Thresholds, exponents and half-widths of the uncertainty band to choose from."""


@dataclass(frozen=True, eq=False)
class Example:
    """A picture as the model looks at it, and where the target says its classes are: ids, 255 where it is not sure."""

    picture: Picture
    target: UInt8[np.ndarray, "h w"]

    @property
    def classes(self) -> tuple[int, ...]:
        """The class ids that its prompt names."""
        return self.picture.prompt.classes


@dataclass(frozen=True)
class Calibration:
    """What was learned, and how long that took.

    Attributes:
        reading: with its scores on the pictures kept back.
        seconds: reading, fitting and scoring.
    """

    reading: Reading
    seconds: float


def calibrate(
    dataset: Path | None, settings: CalibrateSettings, out: Path, *, seed: int, device: str | None = None
) -> Calibration:
    """Learn a reading and write it to ``out``; one that is there already is left as it is.

    Args:
        dataset: pictures with prompts; None takes those of ``settings.benchmark``.
        settings: the model, what says where the classes are, and how much to learn from.
        out: file of the reading.
        seed: of the split and of the first weights.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.

    Raises:
        ConfigError: neither or both of a dataset and a benchmark, no model, too few pictures, or ``out`` holds another
            reading.
        DatasetError, ModelError: the pictures, the model or the teacher cannot be used.
    """
    if (dataset is None) == (settings.benchmark is None):
        raise ConfigError("nothing to learn from, or two things", expected="either a dataset or --benchmark")
    started = time.monotonic()
    store = None if dataset is None else DatasetStore.open(dataset)
    if store is not None:
        store.check_complete()
    asked = _hash_of(settings, store, seed)
    if out.exists():
        there = Reading.load(out)
        if there.learned_from is None or there.learned_from.asked != asked:
            raise ConfigError(f"{out} holds another reading", fix="use another --out or delete it")
        return Calibration(there, 0.0)
    name = settings.model or (None if store is None else store.manifest.model)
    if name is None:
        raise ConfigError("no model whose attention is to be read", fix="--model with its name or folder")
    model = load_from_settings(GenerateSettings(model=name, device=device))
    examples = dataset_examples(store, settings) if store else _benchmark_examples(settings, model, seed)
    if settings.teacher is not None:
        examples = _taught(examples, settings, device)
    reading = learn_reading(model, examples, settings, seed)
    reading = reading.model_copy(
        update={
            "name": out.stem,
            "learned_from": Learning(
                pictures=str(dataset or settings.benchmark),
                target="labels" if settings.teacher is None else str(settings.teacher),
                num_images=len(examples) - _num_kept_back(len(examples), settings),
                kept_back=_num_kept_back(len(examples), settings),
                seed=seed,
                asked=asked,
            ),
        }
    )
    reading.save(out)
    return Calibration(reading, time.monotonic() - started)


def learn_reading(
    model: DiffusionModel,
    examples: Sequence[Example],
    settings: CalibrateSettings,
    seed: int,
    features: LearnedLayers | None = None,
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
    """
    if len(examples) < 8:
        raise ConfigError("too few pictures to learn a reading from", got=len(examples), expected="at least 8")
    order = np.random.default_rng(seed).permutation(len(examples)).tolist()
    kept = _num_kept_back(len(examples), settings)
    split = _Split(examples, order[kept:], order[:kept])
    plain = model.spec.resolve_reading("plain")
    learned = plain.model_copy(
        update={
            "model": model_fingerprint(model.spec),
            "cross_attention": features or unlearned(model.cross_attention_heads()),
            "when": "drawn",
        }
    )
    others = [model.spec.resolve_reading(name) for name in ("published", "plain")] if split.back else []
    with progress("Read attention", len(examples) * (len(settings.timesteps) + len(others)), "pictures") as advance:
        tried = [
            _learn_level(model, split, learned.model_copy(update={"timesteps": (level,)}), seed, advance)
            for level in settings.timesteps
        ]
        best = max(tried, key=lambda one: one.score)
        maps = {other.name: _heatmaps(model, other, examples, advance) for other in others} | {"learned": best.heatmaps}
    with progress("Choose thresholds", len(examples) * len(maps) * len(TRIED_EXPONENTS), "pictures") as advance:
        chosen = {name: _choose_labels(heatmaps, split, settings, advance) for name, heatmaps in maps.items()}
    scores = {name: score for name, (_, score) in chosen.items()} if split.back else {}
    return best.reading.model_copy(update={"label": chosen["learned"][0], "scores": scores})


def choose_labels(
    heatmaps: Sequence[Heatmaps], examples: Sequence[Example], settings: CalibrateSettings
) -> LabelSettings:
    """Exponent and thresholds by which label maps agree best with the targets of examples."""
    everything = _Split(examples, list(range(len(examples))), [])
    with progress("Choose thresholds", len(examples) * len(TRIED_EXPONENTS), "pictures") as advance:
        return _choose_labels(heatmaps, everything, settings, advance)[0]


def summarize(calibration: Calibration) -> Iterator[str]:
    """What was learned, for people to read."""
    reading, learned = calibration.reading, calibration.reading.learned_from
    assert learned is not None
    of = "the target" if learned.target == "labels" else "the teacher"
    yield f"agreement with {of} on the {learned.kept_back} pictures kept back (mIoU, no pixel uncertain):"
    yield from (f"  {name:<10} {score:6.1%}" for name, score in sorted(reading.scores.items(), key=lambda one: one[1]))
    label = reading.label
    yield (
        f"read at noise level {', '.join(map(str, reading.timesteps))} of the finished picture, exponent "
        f"{label.exponent}, thresholds {label.threshold} and {label.uncertainty_threshold}, refinement {label.refine}"
    )
    took = f" in {calibration.seconds:.0f} s" if calibration.seconds else " before"
    yield f"learned from {learned.num_images} pictures{took}"


@dataclass(frozen=True, eq=False)
class _Read:
    reading: Reading
    heatmaps: list[Heatmaps]
    score: float


@dataclass(frozen=True, eq=False)
class _Split:
    """Pictures, and the numbers of those to learn from and of those kept back."""

    examples: Sequence[Example]
    fitted: list[int]
    back: list[int]


def _learn_level(model: DiffusionModel, split: _Split, reading: Reading, seed: int, advance: Advance) -> _Read:
    """Fit the weights at one noise level; the score is on the fitted pictures, unrefined."""
    examples, fitted = split.examples, split.fitted
    maps = list(_read(examples, partial(model.attend_layers, reading=reading), advance))
    learned = weigh(reading, [maps[index] for index in fitted], [examples[index] for index in fitted], seed)
    assert isinstance(learned.cross_attention, LearnedLayers)
    heatmaps = [class_heatmaps(read_layers(one, learned.cross_attention), TRIED_EXPONENTS) for one in maps]
    plain = LabelSettings(exponent=0)
    shown = {index: _evidence(heatmaps[index], examples[index], plain) for index in fitted}
    score = max(_agreement(shown, examples, fitted, cut, cut)[0] for cut in THRESHOLDS)
    return _Read(learned, heatmaps, score)


def weigh(reading: Reading, maps: Sequence[LayerMaps], examples: Sequence[Example], seed: int) -> Reading:
    """The reading with weights by which the maps of examples say what their targets say."""
    features = reading.cross_attention
    assert isinstance(features, LearnedLayers)
    cells = [_cells(one, example, features) for one, example in zip(maps, examples, strict=True)]
    columns, coverage, weight = (torch.cat(part) for part in zip(*cells, strict=True))
    return reading.model_copy(update={"cross_attention": fit(columns, coverage, features, weight=weight, seed=seed)})


def _heatmaps(model: DiffusionModel, reading: Reading, examples: Sequence[Example], advance: Advance) -> list[Heatmaps]:
    return [
        class_heatmaps(one, TRIED_EXPONENTS) for one in _read(examples, partial(model.attend, capture=reading), advance)
    ]


def _cells(maps: LayerMaps, example: Example, features: LearnedLayers) -> tuple[Tensor, Tensor, Tensor]:
    """Features, coverage and weight of every class and cell of a picture."""
    columns = cell_features(maps.cross_attention, features)
    known = torch.from_numpy((example.target != UNCERTAIN).astype(np.float32))
    covered = torch.stack([torch.from_numpy((example.target == one).astype(np.float32)) for one in example.classes])
    size = (columns.shape[-2], columns.shape[-1])
    weight = functional.adaptive_avg_pool2d(known[None], size).expand(len(covered), -1, -1)
    coverage = functional.adaptive_avg_pool2d(covered, size) / weight.clamp_min(1e-6)
    return columns.permute(0, 2, 3, 1).flatten(0, 2), coverage.clamp(0, 1).flatten(), weight.flatten()


def _choose_labels(
    heatmaps: Sequence[Heatmaps], split: _Split, settings: CalibrateSettings, advance: Advance
) -> tuple[LabelSettings, float]:
    """The exponent and thresholds that agree best with the fitted targets, and the score of the others, band off."""
    examples, fitted = split.examples, split.fitted
    best: tuple[float, LabelSettings, float] | None = None
    for exponent in TRIED_EXPONENTS:
        label = LabelSettings(exponent=exponent, refine=settings.refine)
        shown = {}
        for index in (*fitted, *split.back):
            shown[index] = _evidence(heatmaps[index], examples[index], label)
            advance()
        agreed = {cut: _agreement(shown, examples, fitted, cut, cut)[0] for cut in THRESHOLDS}
        cut = max(agreed, key=lambda one: agreed[one])
        if best is not None and best[0] >= agreed[cut]:
            continue
        bands = [band for band in BANDS if band <= min(cut, 1 - cut)]
        unsure = {band: _agreement(shown, examples, fitted, cut + band, cut - band)[1] for band in bands}
        band = min(bands, key=lambda one: abs(unsure[one] - settings.uncertain))
        asked = {"threshold": round(cut + band, 2), "uncertainty_threshold": round(cut - band, 2)}
        best = (
            agreed[cut],
            label.model_copy(update=asked),
            _agreement(shown, examples, split.back or fitted, cut, cut)[0],
        )
    assert best is not None
    return best[1:]


def _evidence(heatmaps: Heatmaps, example: Example, label: LabelSettings) -> Float16[Tensor, "classes h w"]:
    image = example.picture.image
    return evidence(heatmaps, image.shape[:2], label, image=image).half()


def _agreement(
    shown: dict[int, Float16[Tensor, "classes h w"]],
    examples: Sequence[Example],
    which: Sequence[int],
    threshold: float,
    uncertainty_threshold: float,
) -> tuple[float, float]:
    """MIoU of the label maps with the targets, over the pixels that are certain in both, and the share that is not."""
    unsure, pairs = [], []
    for index in which:
        example = examples[index]
        label = assign_labels(
            shown[index], example.classes, example.target.shape, threshold, uncertainty_threshold
        ).numpy()
        unsure.append((label == UNCERTAIN).mean())
        known = np.where(label == UNCERTAIN, UNCERTAIN, example.target)
        pairs.append((np.where(label == UNCERTAIN, 0, label), known))
    highest = max(max(example.classes) for example in examples)
    return evaluate_labels(pairs, num_classes=highest + 1).miou, float(np.mean(unsure))


def _read(
    examples: Sequence[Example], read: Callable[..., list[AnyMaps]], advance: Advance, batch_size: int = 16
) -> Iterator[AnyMaps]:
    for one in read_each((example.picture for example in examples), read, batch_size):
        advance()
        yield one


def dataset_examples(store: DatasetStore, settings: CalibrateSettings) -> list[Example]:
    """The first samples of a dataset, and their own label maps as targets."""
    samples = (store[index] for index in range(min(len(store), settings.num_images)))
    return [Example(Picture(one.image, one.prompt, one.seed), one.label) for one in samples]


def _benchmark_examples(settings: CalibrateSettings, model: DiffusionModel, seed: int) -> list[Example]:
    """Photos of a benchmark that show a class, spread over it, at a size that fits the model."""
    benchmark = open_benchmark(settings.benchmark or "", settings.root, settings.split)
    benchmark.check_truth()
    order = np.random.default_rng(seed).permutation(len(benchmark)).tolist()
    photos = (_photo_example(benchmark[number], index, benchmark, model, seed) for index, number in enumerate(order))
    return list(islice(filter(None, photos), settings.num_images))


def _photo_example(
    photo: BenchmarkImage, index: int, benchmark: Benchmark, model: DiffusionModel, seed: int
) -> Example | None:
    """A photo and its truth, captioned with the classes that are there; None where there is none."""
    truth, classes = photo.label, benchmark.class_set
    assert truth is not None
    present = [int(number) for number in np.unique(truth) if number in set(classes.ids)]
    if not present:
        return None
    prompt = compose_prompt(index, template_caption(classes, present, random_from(seed, index)), present, classes)
    image = model.fit_picture(photo.image)
    height, width, _ = image.shape
    target = Image.fromarray(truth).resize((width, height), Image.Resampling.NEAREST)
    return Example(Picture(image, prompt, sample_seed(seed, index)), np.asarray(target))


def _taught(examples: Sequence[Example], settings: CalibrateSettings, device: str | None) -> list[Example]:
    """The examples, their targets what the teacher sees of the classes that each prompt names."""
    assert settings.teacher is not None
    teacher = load_segmenter(settings.teacher, device)
    read = partial(confident, confidence=settings.confidence)
    images = (example.picture.image for example in examples)
    taught = []
    with progress("Ask the teacher", len(examples), "pictures") as advance:
        for example, seen in zip(examples, predict(teacher.model, images, Views(flip=True), read=read), strict=True):
            named = np.isin(seen, (*example.classes, UNCERTAIN))
            taught.append(replace(example, target=np.where(named, seen, BACKGROUND).astype(np.uint8)))
            advance()
    return taught


def _hash_of(settings: CalibrateSettings, store: DatasetStore | None, seed: int) -> str:
    """What tells a calibration from another; of a teacher, what it was trained on and how."""
    values = settings.model_dump(mode="json", exclude={"teacher"})
    teacher = None if settings.teacher is None else read_description(settings.teacher)
    pictures = None if store is None else store.manifest.identity
    return config_hash({"settings": values, "teacher": teacher, "pictures": pictures, "seed": seed})


def _num_kept_back(count: int, settings: CalibrateSettings) -> int:
    return round(count * settings.kept_back)
