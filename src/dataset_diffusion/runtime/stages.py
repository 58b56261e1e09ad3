"""The stages of a run, one function each. Every stage reads and writes files; a finished one is a no-op."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_diffusion.config import (
    EvaluateSettings,
    GenerateSettings,
    LabelSettings,
    RunConfig,
    Settings,
    TrainSettings,
)
from dataset_diffusion.dataset.files import atomic_write, explained_write_errors
from dataset_diffusion.dataset.manifest import FILE_NAME, DatasetManifest
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.training_data import SegmentationData
from dataset_diffusion.diffusion.models import model_fingerprint
from dataset_diffusion.errors import ConfigError, DatasetError, PromptError
from dataset_diffusion.evaluation.benchmarks import (
    check_classes,
    evaluate_predictions,
    evaluate_segmenter,
    open_benchmark,
)
from dataset_diffusion.evaluation.semantic import to_results
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.records import Prompt
from dataset_diffusion.report.page import FILE_NAME as REPORT
from dataset_diffusion.report.page import write_report
from dataset_diffusion.runtime.executors import DrawingJob, draw_missing_shards, load_model_for
from dataset_diffusion.runtime.progress import progress
from dataset_diffusion.runtime.prompting import compose_prompts, make_prompts
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.models import build_segmenter
from dataset_diffusion.segmentation.predict import predict
from dataset_diffusion.segmentation.train import train_segmenter

EXAMPLES_IN_REPORT = 8

Example = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image, true label map, predicted label map."""


class DatasetSettings(Settings):
    """What a dataset's samples follow from, beside the model's weights and the class set. Kept in its manifest."""

    seed: int
    prompts_sha256: str
    generate: GenerateSettings
    label: LabelSettings


def run_all(config: RunConfig, out: Path) -> dict[str, Any]:
    """Prompts, dataset, segmenter, score and report, in ``out``. Call again to resume.

    Returns:
        What ``results.json`` holds.

    Raises:
        ConfigError: ``out`` holds a run of other settings.
        DatasetDiffusionError: any stage's mistake; those that can be told beforehand leave nothing behind.
    """
    if not (out / "config.json").exists():
        _check(config)
    _claim_run_folder(config, out)
    make_prompts(config.prompts, config.seed, out / "prompts.jsonl")
    make_dataset(out / "prompts.jsonl", config.generate, config.label, config.seed, out / "dataset")
    make_segmenter([out / "dataset"], config.train, config.seed, out / "model")
    results, page = out / "results.json", out / REPORT
    if not results.exists():
        page.unlink(missing_ok=True)  # a page about the run while it was unfinished
        evaluate_model(out / "model", config.evaluate, results, config)
    if not page.exists():
        make_report(out)
    return _read_json(results)


def make_dataset(
    prompts_file: Path,
    generate: GenerateSettings,
    label: LabelSettings,
    seed: int,
    out: Path,
    *,
    classes: ClassSet | None = None,
) -> DatasetStore:
    """Draw and label one image per prompt.

    Args:
        classes: the class set of a prompts file that does not say it.

    Raises:
        DatasetError: ``out`` holds a dataset of other settings.
        ConfigError, ModelError, PromptError: the model cannot draw the prompts; ``out`` is left alone.
    """
    prompts, classes = read_prompts(prompts_file, classes)
    _check_numbered(prompts, prompts_file)
    prompts = sorted(prompts, key=lambda prompt: prompt.index)
    settings = DatasetSettings(seed=seed, prompts_sha256=_hash_of(prompts), generate=generate, label=label)
    manifest = DatasetManifest.from_settings(
        settings,
        num_samples=len(prompts),
        shard_size=generate.shard_size,
        image_format=generate.image_format,
        model=generate.model,
        model_revision=model_fingerprint(generate.model),
        class_set=classes,
    )
    job = DrawingJob(seed, tuple(prompts), generate, label)
    model = None if (out / FILE_NAME).exists() else load_model_for(job)
    store = DatasetStore.create(out, manifest)
    missing = sum(len(store.shard_range(shard)) for shard in store.missing_shards())
    if missing:
        with progress("Draw and label", len(store), "images", done=len(store) - missing) as advance:
            draw_missing_shards(model or load_model_for(job), store, job, on_images=advance)
    return store


def make_segmenter(datasets: Sequence[Path], settings: TrainSettings, seed: int, out: Path) -> Path:
    """Train a segmenter on finished datasets."""
    stores = [DatasetStore.open(dataset) for dataset in datasets]
    for store in stores:
        if not store.is_complete:
            raise DatasetError(
                "the dataset is not finished",
                got=f"{store.path} lacks {len(store.missing_shards())} of {store.manifest.num_shards} shards",
                fix="run the command that began it again",
            )
    data = SegmentationData(stores, preload=True)
    data_id = hashlib.sha256("".join(store.manifest.model_dump_json() for store in stores).encode()).hexdigest()[:16]
    with progress("Train", settings.iterations, "steps") as advance:
        done = 0

        def on_step(step: int, total: int, loss: float) -> None:
            nonlocal done
            advance(step - done, note=f"loss {loss:.3f}")
            done = step

        return train_segmenter(data, data.class_set, settings, out, seed, data_id=data_id, on_step=on_step)


def evaluate_model(
    model: Path, settings: EvaluateSettings, out: Path, config: Settings | None = None
) -> dict[str, Any]:
    """Score a trained segmenter on a benchmark and write ``out``.

    Args:
        config: what the results say they follow from; None takes ``settings``.

    Returns:
        What ``out`` holds.
    """
    benchmark = open_benchmark(settings.benchmark, settings.root)
    segmenter = load_segmenter(model)
    with progress("Evaluate", len(benchmark), "images") as advance:
        scores = evaluate_segmenter(segmenter, benchmark, on_image=lambda image, prediction: advance())
    results = to_results(scores, benchmark.class_set, (config or settings).model_dump(mode="json"))
    write_results(out, results)
    return results


def make_report(run: Path) -> Path:
    """Write the page about a run or a dataset; a run with a segmenter shows what it predicts on the benchmark."""
    config_file, model = run / "config.json", run / "model"
    if not (config_file.exists() and (model / "model.json").exists()):
        return write_report(run)
    config = RunConfig.model_validate_json(config_file.read_bytes())
    return write_report(run, example_predictions(model, config.evaluate))


def example_predictions(model: Path, settings: EvaluateSettings) -> Iterator[Example]:
    """A few predictions, spread evenly over a benchmark."""
    benchmark = open_benchmark(settings.benchmark, settings.root)
    segmenter = load_segmenter(model)
    for number in np.linspace(0, len(benchmark) - 1, min(EXAMPLES_IN_REPORT, len(benchmark)), dtype=int):
        image = benchmark[int(number)]
        (prediction,) = predict(segmenter.model, [image.image])
        yield image.image, image.label, prediction


def score_predictions(predictions: Path, settings: EvaluateSettings, out: Path) -> dict[str, Any]:
    """Score saved label maps on a benchmark, without a model, and write ``out``."""
    benchmark = open_benchmark(settings.benchmark, settings.root)
    scores = evaluate_predictions(predictions, benchmark)
    results = to_results(scores, benchmark.class_set, settings.model_dump(mode="json"))
    write_results(out, results)
    return results


def write_results(out: Path, results: dict[str, Any]) -> None:
    """Write results as JSON, whole or not at all."""
    with explained_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, (json.dumps(results, indent=2) + "\n").encode())


def _check(config: RunConfig) -> None:
    """Refuse what a stage would refuse after hours of the stages before it."""
    prompts, classes = compose_prompts(config.prompts, config.seed)
    build_segmenter(config.train.segmenter, classes.num_classes + 1)
    check_classes(classes, open_benchmark(config.evaluate.benchmark, config.evaluate.root))
    load_model_for(DrawingJob(config.seed, tuple(prompts), config.generate, config.label))


def _claim_run_folder(config: RunConfig, out: Path) -> None:
    file = out / "config.json"
    resolved = config.model_dump(mode="json")
    if file.exists():
        there = _read_json(file)
        if there != resolved:
            name, got, expected = next(_differences(there, resolved), ("", "", ""))
            raise ConfigError(
                f"{out} holds a run of another configuration",
                got=f"{name} = {expected}",
                expected=f"{name} = {got}",
                fix="use another --out, or delete the folder",
            )
        return
    with explained_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    atomic_write(file, (json.dumps(resolved, indent=2) + "\n").encode())


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}", got=str(error), fix="delete it, or use another --out") from error
    return values


def _differences(there: Any, here: Any, name: str = "") -> Any:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
    elif there != here:
        yield name, there, here


def _check_numbered(prompts: list[Prompt], file: Path) -> None:
    indices = sorted(prompt.index for prompt in prompts)
    if indices != list(range(len(prompts))):
        raise PromptError(
            "the prompts are not numbered without gaps",
            got=f"indices {indices[0]} to {indices[-1]} for {len(prompts)} prompts in {file}",
            expected=f"0 to {len(prompts) - 1}",
        )


def _hash_of(prompts: list[Prompt]) -> str:
    return hashlib.sha256(repr(prompts).encode()).hexdigest()[:16]
