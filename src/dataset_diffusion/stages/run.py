"""The stages of a run, one function each. Every stage reads and writes files; a finished one is a no-op."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataset_diffusion.config import MACHINE_SETTINGS, NO_BENCHMARK, RunConfig
from dataset_diffusion.disk.atomic import atomic_write, explained_write_errors
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.evaluation.scoring import check_classes
from dataset_diffusion.run_folder import DESCRIPTION, RunFolder
from dataset_diffusion.stages.evaluate import evaluate, open_chosen
from dataset_diffusion.stages.filter import check_filter, filter_samples
from dataset_diffusion.stages.generate import check_generation, generate_dataset
from dataset_diffusion.stages.prompts import compose_prompts, make_prompts
from dataset_diffusion.stages.report import report
from dataset_diffusion.stages.train import check_training, train


def run_all(config: RunConfig, out: Path) -> dict[str, Any]:
    """Prompts, dataset, segmenter, score and report, in ``out``. Call again to resume.

    Returns:
        What ``results.json`` holds; nothing for a recipe without a benchmark, which ends with training.

    Raises:
        ConfigError: ``out`` holds a run of other settings.
        DatasetDiffusionError: any stage's mistake; those that can be told beforehand leave nothing behind.
    """
    if not (out / "config.json").exists():
        _check(config)
    _claim_run_folder(config, out)
    make_prompts(config.prompts, out / "prompts.jsonl", seed=config.seed)
    generate_dataset(out / "prompts.jsonl", config.generate, out / "dataset", label=config.label, seed=config.seed)
    dataset = out / "dataset"
    if config.filter.rules:
        dataset = filter_samples(dataset, config.filter, out / "filtered").path
    train([dataset], config.train, out / "model", seed=config.seed)
    results, page, last = out / "results.json", RunFolder(out).report, out / "model" / DESCRIPTION
    if config.evaluate.benchmark != NO_BENCHMARK:
        last = results
        if not results.exists():
            evaluate(out / "model", config.evaluate, results, config=config)
    # An older page is about the run while it was unfinished.
    if not page.exists() or page.stat().st_mtime_ns < last.stat().st_mtime_ns:
        report(out)
    return _read_json(results) if last == results else {}


def _check(config: RunConfig) -> None:
    """Refuse what a stage would refuse after hours of the stages before it."""
    prompts, classes, *_ = compose_prompts(config.prompts, seed=config.seed)
    check_filter(config.filter)
    check_training(config.train, classes)
    if config.evaluate.benchmark != NO_BENCHMARK:
        benchmark = open_chosen(config.evaluate)
        benchmark.check_truth()
        check_classes(classes, benchmark)
    check_generation(prompts, config.generate)


def _claim_run_folder(config: RunConfig, out: Path) -> None:
    file = out / "config.json"
    resolved = config.model_dump(mode="json")
    if file.exists():
        for name, there, here in _differences(_read_json(file), resolved):
            if name not in MACHINE_SETTINGS:
                raise ConfigError(
                    f"{out} holds a run of another configuration",
                    got=f"{name} = {here}",
                    expected=f"{name} = {there}",
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
