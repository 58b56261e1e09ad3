"""The commands. Each is a function: its arguments are the options, its docstring the help. Imports no torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from dataset_diffusion.config import (
    EvaluateSettings,
    GenerateSettings,
    LabelSettings,
    PromptSettings,
    RunConfig,
    TrainSettings,
    load_recipe,
    make_settings,
)
from dataset_diffusion.errors import ConfigError, DatasetError

Flat = arg(name="")
"""An argument whose own fields become the options."""


def demo(out: Path = Path("runs/demo"), seed: int = 0) -> None:
    """Do the whole job with the embedded model, on a CPU: prompts, images, labels, a trained segmenter, its score.

    Args:
        out: Folder of the run.
        seed: The run's seed.
    """
    from dataset_diffusion.runtime.stages import run_all

    _print_run(run_all(DEMO.model_copy(update={"seed": seed}), out), out)


def run(config: Annotated[Path, Positional, arg(metavar="CONFIG.toml")], out: Path) -> None:
    """Do every stage of a recipe. The same command again resumes.

    Args:
        config: A TOML recipe; see configs/.
        out: Folder of the run.
    """
    from dataset_diffusion.runtime.stages import run_all

    _print_run(run_all(load_recipe(config), out), out)


def prompts(
    out: Path,
    classes: str = "emoji",
    captions: Path | None = None,
    num_images: int = 240,
    seed: int = 0,
) -> None:
    """Write prompts, balanced over the classes. The same command again does nothing.

    Args:
        out: File to write, JSON lines.
        classes: A class set by name, or your own class names with commas between.
        captions: File of captions (COCO JSON, Flickr, CSV, JSON lines, text); None makes them from templates.
        num_images: Number of prompts.
        seed: The run's seed.
    """
    from dataset_diffusion.prompts.compose import summarize_prompts
    from dataset_diffusion.runtime.prompting import make_prompts

    settings = make_settings(PromptSettings, classes=classes, captions=captions, num_images=num_images)
    made, class_set = make_prompts(settings, seed, out)
    counts = summarize_prompts(made, class_set)
    print(f"{len(made)} prompts: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    print(f"wrote {out}")


def generate(
    prompts: Path,
    out: Path,
    seed: int = 0,
    classes: str | None = None,
    *,
    settings: Annotated[GenerateSettings, Flat] = GenerateSettings(),
    label: Annotated[LabelSettings, Flat] = LabelSettings(),
) -> None:
    """Draw images and label them from the model's attention. The same command again resumes.

    Args:
        prompts: File of prompts that `prompts` wrote, or the published JSON format.
        out: Folder of the dataset.
        seed: The run's seed.
        classes: The class set, where the prompts file does not say it; None takes the file's.
    """
    from dataset_diffusion.prompts.class_sets import resolve_classes
    from dataset_diffusion.runtime.stages import make_dataset

    class_set = None if classes is None else resolve_classes(classes)
    store = make_dataset(prompts, settings, label, seed, out, classes=class_set)
    print(f"{len(store)} labelled images in {out}")


def train(
    dataset: Annotated[
        tuple[Path, ...], Positional, arg(metavar="DATASET [DATASET ...]", help_behavior_hint="(required)")
    ],
    out: Path,
    seed: int = 0,
    *,
    settings: Annotated[TrainSettings, Flat] = TrainSettings(),
) -> None:
    """Train a segmenter on one dataset or several. The same command again resumes.

    Args:
        dataset: Folders of datasets.
        out: Folder of the trained segmenter.
        seed: The run's seed.
    """
    from dataset_diffusion.runtime.stages import make_segmenter

    print(f"trained {make_segmenter(dataset, settings, seed, out)}")


def evaluate(
    model: Annotated[Path | None, Positional, arg(metavar="[MODEL]")] = None,
    predictions: Path | None = None,
    out: Path = Path("results.json"),
    *,
    settings: Annotated[EvaluateSettings, Flat] = EvaluateSettings(),
) -> None:
    """Score a trained segmenter, or saved label maps, on a benchmark.

    Args:
        model: Folder of a trained segmenter; None scores the predictions.
        predictions: Folder of label maps named <image id>.png to score instead of a model; None scores the model.
        out: File to write the results to.
    """
    from dataset_diffusion.runtime.stages import evaluate_model, score_predictions

    if (model is None) == (predictions is None):
        raise ConfigError("nothing to score, or two things", expected="either a model folder or --predictions")
    if predictions is not None:
        results = score_predictions(predictions, settings, out)
    elif model is not None:
        results = evaluate_model(model, settings, out)
    _print_scores(results)
    print(f"wrote {out}")


def report(run: Annotated[Path, Positional, arg(metavar="RUN")]) -> None:
    """Write one HTML page about a run or a dataset.

    Args:
        run: Folder of a run, or of a dataset.
    """
    from dataset_diffusion.runtime.stages import make_report

    print(f"wrote {make_report(run)}")


def verify(dataset: Annotated[Path, Positional, arg(metavar="DATASET")]) -> None:
    """Check every byte of a dataset: shards, checksums, label ids, sizes.

    Args:
        dataset: Folder of the dataset.
    """
    from dataset_diffusion.dataset.store import DatasetStore

    store = DatasetStore.open(dataset)
    problems = store.verify()
    if problems:
        for problem in problems[:-1]:
            print(problem)
        raise DatasetError(problems[-1], got=f"{len(problems)} problems in {dataset}")
    print(f"{dataset}: {len(store)} samples in {store.manifest.num_shards} shards, all whole")


def doctor() -> None:
    """Say what this machine can run."""
    import platform

    import torch

    import dataset_diffusion
    from dataset_diffusion.diffusion.models import MODELS

    disk = shutil.disk_usage(Path.cwd())
    print(f"dataset-diffusion {dataset_diffusion.__version__}, Python {platform.python_version()}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        print(f"cuda:{number} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        print("no CUDA device: `embedded` runs well here, Stable Diffusion at minutes an image")
    print(f"disk: {disk.free / 2**30:.0f} GiB free in {Path.cwd()}")
    print(f"models: {', '.join(MODELS)}, a hub id, or a diffusers folder")


COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "run": run,
    "prompts": prompts,
    "generate": generate,
    "train": train,
    "evaluate": evaluate,
    "report": report,
    "verify": verify,
    "doctor": doctor,
}

DEMO = RunConfig(
    label=LabelSettings(exponent=1, threshold=0.45, uncertainty_threshold=0.35), train=TrainSettings(iterations=600)
)
"""The demo's recipe, as in configs/demo.toml: sized for two CPU cores and ten minutes."""


def _print_run(results: dict[str, Any], out: Path) -> None:
    _print_scores(results)
    print(f"report: {out / 'report.html'}")


def _print_scores(results: dict[str, Any]) -> None:
    width = max(map(len, results["per_class_iou"]), default=0)
    for name, iou in results["per_class_iou"].items():
        print(f"  {name:<{width}}  {iou:6.1%}")
    print(f"mIoU {results['miou']:.1%} over {results['num_images']} images")
