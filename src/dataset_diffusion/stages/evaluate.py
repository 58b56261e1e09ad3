"""The stage that scores: a segmenter, or saved predictions, on a benchmark, into ``results.json``."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from dataset_diffusion.config import NO_BENCHMARK, EvaluateSettings, Settings
from dataset_diffusion.disk.atomic import atomic_write, explained_write_errors
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.evaluation.benchmark import Benchmark, BenchmarkImage
from dataset_diffusion.evaluation.listing import LabelMap
from dataset_diffusion.evaluation.scorers.semantic import SemanticScores, to_results
from dataset_diffusion.evaluation.scoring import evaluate_predictions, evaluate_segmenter, predict_benchmark
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.machine.progress import Advance, progress
from dataset_diffusion.report.gallery import MAX_EXAMPLES, Example
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.predict import Views, predict


def open_chosen(settings: EvaluateSettings, *, check_files: bool = True) -> Benchmark:
    """The benchmark that settings name.

    Raises:
        ConfigError: they name none.
        DatasetError: it cannot be opened.
    """
    if settings.benchmark == NO_BENCHMARK:
        raise ConfigError("no benchmark to evaluate on", fix="--benchmark with a name or a labelled dataset's folder")
    return open_benchmark(settings.benchmark, settings.root, settings.split, check_files=check_files)


def evaluate_model(
    model: Path,
    settings: EvaluateSettings,
    out: Path,
    config: Settings | None = None,
    *,
    save_predictions: Path | None = None,
    skip_bad: bool = False,
    device: str | None = None,
) -> dict[str, Any]:
    """Score a trained segmenter on a benchmark and write ``out``.

    Args:
        model: folder of the segmenter.
        settings: the benchmark, and how its images are shown to the segmenter.
        out: file of the results.
        config: what the results say they follow from; None takes ``settings``.
        save_predictions: folder for ``<image id>.png``, in the benchmark's own format; None keeps none.
        skip_bad: leave out images whose files cannot be used, and list them in the results.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.

    Returns:
        What ``out`` holds. Where the truth is withheld, the predictions are saved, nothing is scored or written, and
        this is ``num_images`` and what was skipped.
    """
    benchmark = open_chosen(settings, check_files=not skip_bad)
    if save_predictions is None:
        benchmark.check_truth()
    segmenter, views = load_segmenter(model, device), Views.from_settings(settings)
    if benchmark.has_truth:
        _check_place(out)
    with progress("Evaluate", len(benchmark), "images") as advance:
        skipped = _Skipped(len(benchmark), advance) if skip_bad else None

        def on_image(image: BenchmarkImage, prediction: LabelMap) -> None:
            if save_predictions is not None:
                _save(save_predictions / f"{image.id}.png", benchmark.task.encode(prediction, benchmark.class_set))
            advance()

        if not benchmark.has_truth:
            num_images = 0
            for image, prediction in predict_benchmark(
                segmenter, benchmark, views, batch_size=settings.batch_size, on_bad=skipped
            ):
                on_image(image, prediction)
                num_images += 1
            return {"num_images": num_images, **_listed(skipped)}
        scores = evaluate_segmenter(
            segmenter, benchmark, views, batch_size=settings.batch_size, on_image=on_image, on_bad=skipped
        )
    return _write(out, scores, benchmark, config or settings, skipped)


def score_predictions(
    predictions: Path, settings: EvaluateSettings, out: Path, *, skip_bad: bool = False
) -> dict[str, Any]:
    """Score saved predictions on a benchmark, without a model, and write ``out``."""
    benchmark = open_chosen(settings, check_files=not skip_bad)
    _check_place(out)
    with progress("Evaluate", len(benchmark), "images") as advance:
        skipped = _Skipped(len(benchmark), advance) if skip_bad else None
        scores = evaluate_predictions(predictions, benchmark, on_id=lambda image_id: advance(), on_bad=skipped)
    return _write(out, scores, benchmark, settings, skipped)


def example_predictions(model: Path, settings: EvaluateSettings) -> Iterator[Example]:
    """A few predictions, spread evenly over a benchmark; none where it names other classes, so that ids differ."""
    benchmark, views = open_chosen(settings), Views.from_settings(settings)
    segmenter = load_segmenter(model)
    if segmenter.class_set.names != benchmark.class_set.names:
        return
    for number in np.linspace(0, len(benchmark) - 1, min(MAX_EXAMPLES, len(benchmark)), dtype=int):
        image, truth = benchmark.listing.read_image(int(number)), benchmark.read_label(int(number))
        (prediction,) = predict(segmenter.model, [image], views)
        yield image, truth, prediction


def write_results(out: Path, results: dict[str, Any]) -> None:
    """Write results as JSON, whole or not at all."""
    _save(out, (json.dumps(results, indent=2) + "\n").encode())


class _Skipped:
    """Collects the images that could not be used, and why."""

    def __init__(self, num_images: int, advance: Advance) -> None:
        self.reasons: dict[str, str] = {}
        self._num_images = num_images
        self._advance = advance

    def __call__(self, image_id: str, error: DatasetError) -> None:
        self.reasons[image_id] = str(error)
        if len(self.reasons) == self._num_images:
            raise DatasetError("no image can be used", got=f"{self._num_images}, the last with: {error}") from error
        self._advance()


def _listed(skipped: _Skipped | None) -> dict[str, Any]:
    return {} if skipped is None else {"num_skipped": len(skipped.reasons), "skipped": skipped.reasons}


def _write(
    out: Path, scores: SemanticScores, benchmark: Benchmark, config: Settings, skipped: _Skipped | None
) -> dict[str, Any]:
    results = to_results(scores, benchmark.class_set, config.model_dump(mode="json")) | _listed(skipped)
    write_results(out, results)
    return results


def _save(path: Path, data: bytes) -> None:
    with explained_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data)


def _check_place(path: Path) -> None:
    """Before the work rather than after it, so that a place that cannot be written costs no evaluation."""
    with explained_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        TemporaryFile(dir=path.parent).close()
