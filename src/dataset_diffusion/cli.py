"""The commands. Each is a function: its arguments are the options, its docstring the help. Imports no torch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from dataset_diffusion.config import (
    EvaluateSettings,
    ExecutorSettings,
    ExportSettings,
    FilterSettings,
    GenerateSettings,
    LabelSettings,
    PromptSettings,
    RunConfig,
    TrainSettings,
    WorkerSettings,
    make_settings,
)
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.recipe import load_recipe

Flat = arg(name="")
"""An argument whose own fields become the options."""


def demo(out: Path = Path("runs/demo"), seed: int = 0) -> None:
    """Do the whole job with the embedded model, on a CPU: prompts, images, labels, a trained segmenter, its score.

    Args:
        out: Folder of the run.
        seed: The run's seed.
    """
    _run(DEMO.model_copy(update={"seed": seed}), out)


def run(
    config: Annotated[Path, Positional, arg(metavar="CONFIG.toml")],
    out: Path,
    dry_run: bool = False,
    costs: Path | None = None,
) -> None:
    """Do every stage of a recipe. The same command again resumes.

    Args:
        config: A TOML recipe; see configs/.
        out: Folder of the run.
        dry_run: Print what the run would do and cost, and write nothing.
        costs: With --dry-run, how fast the device is, as benchmarks/training_cost.py measures it; None assumes a GPU.
    """
    if costs is not None and not dry_run:
        raise ConfigError("--costs is for a plan", got=costs, fix="add --dry-run")
    if dry_run:
        from dataset_diffusion.stages.plan import plan, read_costs

        print(*plan(load_recipe(config), out, read_costs(costs)), sep="\n")
        return
    _run(load_recipe(config), out)


def prompts(
    out: Path,
    *,
    classes: str = "emoji",
    captions: Path | None = None,
    captioner: str = PromptSettings().captioner,
    num_images: int = 240,
    seed: int = 0,
    report: Path | None = None,
    skip_bad: bool = False,
    executor: Annotated[WorkerSettings, Flat] = WorkerSettings(),
) -> None:
    """Write prompts, balanced over the classes, and show what was found. The same command again does nothing.

    Args:
        out: File to write, JSON lines.
        classes: A class set by name, or your own class names with commas between.
        captions: File of captions (COCO JSON, Flickr, CSV, JSON lines, text), or folder of photos to caption; None
            makes them from templates.
        captioner: What captions photos: a hub id, or a local folder of an image-to-text model.
        num_images: Number of prompts.
        seed: The run's seed.
        report: File to write counts per class and which classes come together to, as JSON; None writes none.
        skip_bad: Leave out captions and photos that cannot be used, and list them.
    """
    from dataset_diffusion.stages.prompts import report_prompts

    settings = make_settings(
        PromptSettings, classes=classes, captions=captions, captioner=captioner, num_images=num_images
    )
    for line in report_prompts(settings, seed, out, report, skip_bad=skip_bad, executor=executor):
        print(line)


def generate(
    prompts: Path,
    out: Path,
    seed: int = 0,
    classes: str | None = None,
    *,
    settings: Annotated[GenerateSettings, Flat] = GenerateSettings(),
    label: Annotated[LabelSettings, Flat] = LabelSettings(),
    executor: Annotated[ExecutorSettings, Flat] = ExecutorSettings(),
) -> None:
    """Draw images and label them from the model's attention. The same command again resumes.

    Args:
        prompts: File of prompts that `prompts` wrote, or the published JSON format.
        out: Folder of the dataset.
        seed: The run's seed.
        classes: The class set, where the prompts file does not say it; None takes the file's.
    """
    from dataset_diffusion.prompts.class_sets import resolve_classes
    from dataset_diffusion.stages.generate import generate_dataset

    class_set = None if classes is None else resolve_classes(classes)
    store = generate_dataset(prompts, settings, out, label=label, seed=seed, classes=class_set, workers=executor)
    if missing := len(store.missing_shards()):
        print(f"part {executor.part} is done; {missing} of {store.manifest.num_shards} shards are for the other parts")
    else:
        print(f"{len(store)} labelled images in {out}")


def relabel(
    dataset: Annotated[Path, Positional, arg(metavar="DATASET")],
    out: Path | None = None,
    num_workers: int | None = None,
    executor: Literal["local", "ray"] = "local",
    address: str | None = None,
    *,
    settings: Annotated[LabelSettings, Flat] = LabelSettings(),
) -> None:
    """Label a dataset anew from its stored heatmaps, without a model. The same command again resumes.

    Args:
        dataset: Folder of the dataset.
        out: Folder of the relabelled dataset; None relabels the dataset in its place.
        num_workers: Processes; None takes one per core.
        executor: `local` works here, `ray` in the workers of a Ray cluster.
        address: Address of a running Ray cluster, `auto` to find it; None starts one on this machine.
    """
    from dataset_diffusion.stages.relabel import relabel_dataset

    where = make_settings(WorkerSettings, executor=executor, address=address)
    store = relabel_dataset(dataset, settings, out, num_workers, where)
    print(f"{len(store)} images relabelled in {store.path}")


def filter_samples(
    dataset: Annotated[str, Positional, arg(metavar="DATASET")],
    out: Path,
    rule: Annotated[UseAppendAction[tuple[str, ...]], arg(help_behavior_hint="(required)")] = (),
    image_text: str = FilterSettings().image_text,
) -> None:
    """Write the samples that pass every rule as a new dataset. The same command again resumes.

    Args:
        dataset: Folder of the dataset, or its URL (s3://...).
        out: Folder of the new dataset.
        rule: What to keep, as in --rule "presence >= 0.4" --rule "novelty >= 6"; also area, components, uncertain,
            foreground and image_text, see docs/filtering.md.
        image_text: The CLIP model that rules about image_text ask: a hub id, or a local folder. Others need none.
    """
    from dataset_diffusion.stages.filter import filter_dataset

    _, selection = filter_dataset(dataset, FilterSettings(rules=rule, image_text=image_text), out)
    for one, dropped in zip(rule, selection.dropped, strict=True):
        print(f"{one}: dropped {dropped}")
    total = len(selection.kept) + sum(selection.dropped)
    print(f"kept {len(selection.kept)} of {total} images in {out}")


def train(
    dataset: Annotated[
        tuple[str, ...], Positional, arg(metavar="[DATASET ...]", help_behavior_hint="(default: none)")
    ] = (),
    *,
    out: Path,
    seed: int = 0,
    device: str | None = None,
    skip_bad: bool = False,
    settings: Annotated[TrainSettings, Flat] = TrainSettings(),
) -> None:
    """Train a segmenter on datasets, on real photos, or on both. The same command again resumes.

    Args:
        dataset: Folders of datasets, or their URLs (s3://...); none trains on the photos of --real alone.
        out: Folder of the trained segmenter.
        seed: The run's seed.
        device: cpu, cuda, cuda:1, mps; None takes the best one there is.
        skip_bad: Leave out real photos whose files cannot be used, and list them.
    """
    from dataset_diffusion.stages.train import make_segmenter

    on_bad = _print_skipped if skip_bad else None
    print(f"trained {make_segmenter(dataset, settings, seed, out, device=device, on_bad=on_bad)}")


def evaluate(
    model: Annotated[Path | None, Positional, arg(metavar="[MODEL]")] = None,
    predictions: Path | None = None,
    save_predictions: Path | None = None,
    skip_bad: bool = False,
    out: Path = Path("results.json"),
    *,
    device: str | None = None,
    settings: Annotated[EvaluateSettings, Flat] = EvaluateSettings(),
) -> None:
    """Score a trained segmenter, or saved label maps, on a benchmark.

    Args:
        model: Folder of a trained segmenter; None scores the predictions.
        predictions: Folder of label maps named <image id>.png to score instead of a model; None scores the model.
        save_predictions: Folder to save the model's label maps in, as the benchmark's test server wants them.
        skip_bad: Leave out images whose files cannot be used, and list them.
        out: File to write the results to.
        device: cpu, cuda, cuda:1, mps; None takes the best one there is.
    """
    from dataset_diffusion.stages.evaluate import evaluate_model, score_predictions

    if (model is None) == (predictions is None):
        raise ConfigError("nothing to score, or two things", expected="either a model folder or --predictions")
    if predictions is not None:
        if save_predictions is not None:
            raise ConfigError("--save-predictions needs a model", got=f"--predictions {predictions}")
        results = score_predictions(predictions, settings, out, skip_bad=skip_bad)
    elif model is not None:
        results = evaluate_model(
            model, settings, out, save_predictions=save_predictions, skip_bad=skip_bad, device=device
        )
    for image_id, reason in results.get("skipped", {}).items():
        _print_skipped(image_id, reason)
    if results.get("num_skipped"):
        print(f"skipped {results['num_skipped']} images in all", file=sys.stderr)
    if save_predictions is not None:
        print(f"{results['num_images']} predictions in {save_predictions}")
    if "miou" in results:  # else the labels are not public
        _print_scores(results)
        print(f"wrote {out}")


def export(
    dataset: Annotated[str, Positional, arg(metavar="DATASET")],
    out: Path,
    *,
    settings: Annotated[ExportSettings, Flat],
) -> None:
    """Write a dataset in the format of other tools. The same command again resumes.

    Args:
        dataset: Folder of the dataset, or its URL (s3://...).
        out: Folder of the export, new or empty.
    """
    from dataset_diffusion.stages.export import export_dataset

    store = export_dataset(dataset, out, settings)
    print(f"{len(store)} labelled images in {out}, see {out / 'README.md'}")


def report(run: Annotated[Path, Positional, arg(metavar="RUN")]) -> None:
    """Write one HTML page about a run or a dataset.

    Args:
        run: Folder of a run, or of a dataset.
    """
    from dataset_diffusion.stages.report import make_report

    print(f"wrote {make_report(run)}")


def verify(
    dataset: Annotated[str, Positional, arg(metavar="DATASET")],
    repair: bool = False,
    prompts: Path | None = None,
    num_workers: int | None = None,
) -> None:
    """Check every byte of a dataset: shards, checksums, label ids, sizes.

    Args:
        dataset: Folder of the dataset, or its URL (s3://...).
        repair: Draw missing and damaged shards again, as they were.
        prompts: The prompts that it was drawn from, for --repair; None takes prompts.jsonl beside its folder.
        num_workers: Threads that check shards; None takes a few more than there are cores.
    """
    from dataset_diffusion.dataset.store import DatasetStore
    from dataset_diffusion.stages.verify import find_broken_shards

    store = DatasetStore.open(dataset)
    broken = find_broken_shards(store, num_workers)
    if repair and broken:
        from dataset_diffusion.stages.generate import repair_dataset

        repair_dataset(store, list(broken), prompts)
        for shard in broken:
            print(f"{store.shard_path(shard)}: drawn again")
        broken = find_broken_shards(store, num_workers)
    problems = [*chain.from_iterable(broken.values()), *store.unknown_files()]
    if problems:
        print(*problems, sep="\n", flush=True)
        raise DatasetError(
            f"{dataset} is not whole",
            got=f"the {len(problems)} problems listed before",
            fix=f"`dataset-diffusion verify {dataset} --repair` draws missing and damaged shards again",
        )
    print(f"{dataset}: {len(store)} samples in {store.manifest.num_shards} shards, all whole")


def doctor() -> None:
    """Say what this machine can run, and what can be named."""
    import platform

    import torch

    import dataset_diffusion
    from dataset_diffusion.diffusion.specs import MODELS
    from dataset_diffusion.evaluation.table import BENCHMARKS
    from dataset_diffusion.segmentation.models import SEGMENTERS

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
    print(f"segmenters: {', '.join(SEGMENTERS)}")
    print(f"benchmarks: {', '.join(BENCHMARKS)}, or a labelled dataset's folder")


COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "run": run,
    "prompts": prompts,
    "generate": generate,
    "relabel": relabel,
    "filter": filter_samples,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "report": report,
    "verify": verify,
    "doctor": doctor,
}

DEMO = RunConfig(
    label=LabelSettings(exponent=1, threshold=0.4, uncertainty_threshold=0.25, refine="pamr"),
    filter=FilterSettings(rules=("presence >= 0.4",)),
    train=TrainSettings(iterations=600),
)
"""The demo's recipe, as in configs/demo.toml: sized for two CPU cores and ten minutes."""


def _run(config: RunConfig, out: Path) -> None:
    # Said first: importing what comes next takes seconds.
    images, steps = config.prompts.num_images, config.train.iterations
    print(f"{images:,} images and {steps:,} training steps into {out}; the same command resumes", flush=True)
    from dataset_diffusion.stages.run import run_all

    if results := run_all(config, out):  # a recipe without a benchmark has none
        _print_scores(results)
    print(f"report: {out / 'report.html'}")


def _print_skipped(image_id: str, reason: object) -> None:
    print(f"skipped {image_id}: {reason}", file=sys.stderr)


def _print_scores(results: dict[str, Any]) -> None:
    width = max(map(len, results["per_class_iou"]), default=0)
    for name, iou in results["per_class_iou"].items():
        print(f"  {name:<{width}}  {iou:6.1%}")
    for name, score in results.items():
        if isinstance(score, float) and name not in {"miou", "pixel_accuracy"}:
            print(f"{name} {score:.4f}")
    print(f"mIoU {results['miou']:.1%} over {results['num_images']} images")
