"""The stage that learns how to read a model's attention: from a segmenter's predictions, or from labelled pictures."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_diffusion.calibration.examples import Example
from dataset_diffusion.calibration.learning import learn_reading, num_kept_back
from dataset_diffusion.config import (
    CalibrateSettings,
    GenerateSettings,
    LearnSettings,
    config_hash,
)
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.load import load_from_settings
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.pictures import Picture
from dataset_diffusion.diffusion.specs import unchanged_spec
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.evaluation.benchmark import Benchmark, BenchmarkImage
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.labelling.assign import BACKGROUND, UNCERTAIN
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.compose import compose_prompt
from dataset_diffusion.prompts.writers.templates import template_caption
from dataset_diffusion.reading import Learning, Reading
from dataset_diffusion.seeding import random_from, sample_seed
from dataset_diffusion.segmentation.model_folder import load_segmenter, read_description
from dataset_diffusion.segmentation.predict import Views, confident, predict


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
    """Learn a reading and write it to ``out``; one that is there already is left as it is. Call again to resume.

    Args:
        dataset: pictures with prompts; None takes those of ``settings.benchmark``.
        settings: the model, what says where the classes are, and how much to learn from.
        out: file of the reading.
        seed: of the split and of the first weights.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.

    Raises:
        ConfigError: neither or both of a dataset and a benchmark, no model, too few pictures, or ``out`` holds another
            reading.
        DatasetError, ModelError: the pictures, the model or the teacher cannot be used, or the dataset's model has
            other weights now.
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
    name, lora = settings.model, None
    if name is None and store is not None and store.manifest.model is not None:
        name, lora = store.manifest.model, store.manifest.provenance.lora
        unchanged_spec(name, lora, store.manifest.model_revision)
    if name is None:
        raise ConfigError("no model whose attention is to be read", fix="--model with its name or folder")
    model = load_from_settings(GenerateSettings(model=name, lora=lora, device=device))
    examples = dataset_examples(store, settings) if store else _benchmark_examples(settings, model, seed)
    if settings.teacher is not None:
        examples = _taught(examples, settings, device)
    unfinished = out.with_name(f".{out.name}.unfinished")
    reading = learn_reading(model, examples, settings, seed, passes=unfinished / asked)
    reading = reading.model_copy(
        update={
            "name": out.stem,
            "learned_from": Learning(
                pictures=str(dataset or settings.benchmark),
                target="labels" if settings.teacher is None else str(settings.teacher),
                num_images=len(examples) - num_kept_back(len(examples), settings),
                kept_back=num_kept_back(len(examples), settings),
                seed=seed,
                asked=asked,
            ),
        }
    )
    reading.save(out)
    shutil.rmtree(unfinished, ignore_errors=True)
    return Calibration(reading, time.monotonic() - started)


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


def dataset_examples(store: DatasetStore, settings: LearnSettings) -> list[Example]:
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
