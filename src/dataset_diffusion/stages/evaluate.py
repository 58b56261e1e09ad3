"""The stage that scores: a segmenter, or saved predictions, on a benchmark, into ``results.json``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from dataset_diffusion.config import NO_BENCHMARK, EvaluateSettings, Settings
from dataset_diffusion.disk.atomic import (
    clear_leftovers,
    explained_write_errors,
    remove_files,
    write_file,
    write_json,
)
from dataset_diffusion.disk.places import below
from dataset_diffusion.errors import ConfigError, DatasetError, Skipped
from dataset_diffusion.evaluation.benchmark import Benchmark
from dataset_diffusion.evaluation.examples import Example, choose_examples, write_examples
from dataset_diffusion.evaluation.scorers.semantic import to_results
from dataset_diffusion.evaluation.scoring import Predicted, predict_benchmark, read_predictions, score
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.machine.progress import Advance, progress
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import RunFolder
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.predict import Views


def open_chosen(settings: EvaluateSettings, *, check_files: bool = True) -> Benchmark:
    """The benchmark that settings name; a ConfigError where they name none."""
    if settings.benchmark == NO_BENCHMARK:
        raise ConfigError("no benchmark to evaluate on", fix="--benchmark with a name or a labelled dataset's folder")
    return open_benchmark(settings.benchmark, settings.root, settings.split, check_files=check_files)


def evaluate(
    model: Path | None,
    settings: EvaluateSettings,
    out: Path,
    *,
    device: str | None = None,
    skip_bad: Skipped | None = None,
    predictions: Path | None = None,
    save_predictions: Path | None = None,
    config: Settings | None = None,
) -> dict[str, Any]:
    """Score a trained segmenter, or saved predictions, on a benchmark and write ``out``.

    In a run folder, a few of the segmenter's predictions are kept beside ``out`` for the report.

    Args:
        model: folder of the segmenter; None scores ``predictions``.
        settings: the benchmark, and how its images are shown to the segmenter.
        out: file of the results.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.
        skip_bad: collects images whose files cannot be used, which the results list; None raises.
        predictions: folder of ``<image id>.png`` to score without a model.
        save_predictions: folder for ``<image id>.png``, in the benchmark's own format; None keeps none.
        config: what the results say they follow from; None takes ``settings``.

    Returns:
        What ``out`` holds. Where the truth is withheld, the predictions are saved, nothing is scored or written, and
        this is ``num_images`` and what was skipped.

    Raises:
        ConfigError: neither or both of ``model`` and ``predictions``, or ``save_predictions`` without ``model``.
        DatasetError: the benchmark cannot be used, or ``out`` cannot be written.
        ModelError: the segmenter cannot be loaded, or there is too little memory for it.
    """
    if (model is None) == (predictions is None):
        raise ConfigError("nothing to score, or two things", expected="either a model folder or --predictions")
    if model is None and save_predictions is not None:
        raise ConfigError("--save-predictions needs a model", got=f"--predictions {predictions}")
    benchmark = open_chosen(settings, check_files=skip_bad is None)
    if save_predictions is None:
        benchmark.check_truth()
    examples: list[Example] = []
    if predictions is not None:
        found = read_predictions(predictions, benchmark, skip_bad=skip_bad)
    elif model is not None:
        segmenter, views = load_segmenter(model, device), Views.from_settings(settings)
        found = predict_benchmark(segmenter, benchmark, views, batch_size=settings.batch_size, skip_bad=skip_bad)
        if segmenter.class_set.names == benchmark.class_set.names:  # else ids differ
            found = _collected(found, benchmark, examples)
    if save_predictions is not None:
        found = _saved(found, benchmark, save_predictions)
    if benchmark.has_truth:
        _check_place(out)
    with progress("Compare predictions with the truth", len(benchmark), "images") as advance:
        counted = _counted(found, benchmark, skip_bad, advance)
        if not benchmark.has_truth:
            return {"num_images": sum(1 for _ in counted), **_listed(skip_bad)}
        scores = score(counted, benchmark, skip_bad=skip_bad)
    results = to_results(scores, benchmark.class_set, (config or settings).model_dump(mode="json"))
    results |= _listed(skip_bad)
    _keep_examples(out, examples, benchmark.class_set)
    write_json(out, results)
    return results


def _collected(found: Iterator[Predicted], benchmark: Benchmark, examples: list[Example]) -> Iterator[Predicted]:
    """The same predictions, a few of which are added to ``examples`` on their way."""
    chosen = choose_examples(benchmark.ids)
    for one in found:
        if one.id in chosen and one.image is not None and one.truth is not None:
            examples.append(Example(one.image, one.truth, benchmark.task.to_ids(one.prediction)))
        yield one


def _saved(found: Iterator[Predicted], benchmark: Benchmark, folder: Path) -> Iterator[Predicted]:
    """The same predictions, each saved on its way."""
    places = set()
    for one in found:
        path = below(folder, f"{one.id}.png")
        write_file(path, benchmark.task.encode(one.prediction, benchmark.class_set))
        places.add(path.parent)
        yield one
    for place in places:
        clear_leftovers(place)


def _counted(
    found: Iterator[Predicted], benchmark: Benchmark, skip_bad: Skipped | None, advance: Advance
) -> Iterator[Predicted]:
    """The same predictions, counted as progress, and an error where every image was left out."""
    done = 0
    for number, one in enumerate(found, start=1):
        yield one
        before, done = done, min(len(benchmark), number + (len(skip_bad.reasons) if skip_bad else 0))
        advance(done - before)
    if skip_bad and 0 < len(skip_bad.reasons) == len(benchmark):
        last = list(skip_bad.reasons.values())[-1]
        raise DatasetError("no image can be used", got=f"{len(benchmark)}, the last with: {last}")


def _listed(skip_bad: Skipped | None) -> dict[str, Any]:
    return {} if skip_bad is None else {"num_skipped": len(skip_bad.reasons), "skipped": skip_bad.reasons}


def _keep_examples(out: Path, examples: list[Example], class_set: ClassSet) -> None:
    """Write the examples of a run before its results, whose presence means that both are there."""
    run = RunFolder(out.parent)
    if out == run.results and run.is_begun:
        if examples:
            write_examples(run.examples, examples, class_set)
        else:
            remove_files([run.examples])  # they are about the results that are replaced


def _check_place(path: Path) -> None:
    """Before the work rather than after it, so that a place that cannot be written costs no evaluation."""
    with explained_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        TemporaryFile(dir=path.parent).close()
