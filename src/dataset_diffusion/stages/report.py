"""The page about a run or a dataset."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from dataset_diffusion.config import NO_BENCHMARK, EvaluateSettings
from dataset_diffusion.report.page import write_report
from dataset_diffusion.segmentation.model_folder import DESCRIPTION
from dataset_diffusion.stages.evaluate import example_predictions


def make_report(run: Path) -> Path:
    """Write the page about a run or a dataset; a run with a segmenter shows what it predicts on the benchmark."""
    config_file, model = run / "config.json", run / "model"
    if not (config_file.exists() and (model / DESCRIPTION).exists()):
        return write_report(run)
    settings = json.loads(config_file.read_text(encoding="utf-8")).get("evaluate", {})
    try:
        evaluated = EvaluateSettings.model_validate(settings)
    except ValidationError:  # a run of another version: its page has no examples
        return write_report(run)
    if evaluated.benchmark == NO_BENCHMARK:
        return write_report(run)
    return write_report(run, example_predictions(model, evaluated))
