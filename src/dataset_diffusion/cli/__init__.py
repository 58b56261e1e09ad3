"""The commands. Each is a function: its arguments are the options, its docstring the help. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dataset_diffusion.cli.dataset import (
    annotate,
    export,
    filter_samples,
    generate,
    import_labels,
    prompts,
    relabel,
    studio,
    verify,
)
from dataset_diffusion.cli.run import demo, doctor, report, run
from dataset_diffusion.cli.segmenter import calibrate, evaluate, export_model, predict, train

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "run": run,
    "prompts": prompts,
    "generate": generate,
    "relabel": relabel,
    "calibrate": calibrate,
    "annotate": annotate,
    "filter": filter_samples,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export-model": export_model,
    "export": export,
    "import-labels": import_labels,
    "report": report,
    "studio": studio,
    "verify": verify,
    "doctor": doctor,
}
