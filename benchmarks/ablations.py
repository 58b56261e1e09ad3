"""The paper's ablations on the embedded world: segmenters, number of images, uncertainty band, samples dropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.label_quality import SCENES

from dataset_diffusion.config import (
    EvaluateSettings,
    GenerateSettings,
    LabelOptions,
    LabelSettings,
    PromptSettings,
    TrainSettings,
)
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.recipe import load_recipe
from dataset_diffusion.stages.evaluate import evaluate
from dataset_diffusion.stages.filter import filter_samples
from dataset_diffusion.stages.generate import generate_dataset
from dataset_diffusion.stages.prompts import make_prompts
from dataset_diffusion.stages.relabel import relabel_dataset
from dataset_diffusion.stages.train import train as train_stage

DEMO = load_recipe(Path("demo"))

SEGMENTERS = {"DeepLabV3": "deeplabv3-resnet18", "Mask2Former": "mask2former-small"}
"""The paper's segmenters in the sizes that a CPU trains in minutes."""

PARTS = (250, 250, 500, 1000)
"""Sizes of datasets that are trained on together: the first, the first two, and so on."""

Row = dict[str, Any]


def measure_ablations(work: Path, count: int, train: TrainSettings, repeats: int) -> dict[str, list[Row]]:
    """Two tables, each row a segmenter tested on the held-out scenes.

    Args:
        work: folder with ``synthetic`` and ``real_scenes``, datasets of ``count`` images each.
        count: their number of images.
        train: how every segmenter is trained, but for what its row changes.
        repeats: trainings of each row of the second table, with other seeds.
    """
    synthetic, real, models = work / "synthetic", work / SCENES.name, work / "ablations"
    segmenters = []
    for title, name in SEGMENTERS.items():
        settings = train.model_copy(update={"segmenter": name})
        on_synthetic = score([synthetic], settings, models / f"{name}-synthetic")
        on_real = score([real], settings, models / f"{name}-real")
        row = {"segmenter": f"{title} (`{name}`)", "synthetic": on_synthetic, "real": on_real}
        segmenters.append(row | {"ratio": on_synthetic / on_real})
    own = labels_of(synthetic)
    without_band = own.model_copy(update={"uncertainty_threshold": own.threshold})
    relabel_dataset(synthetic, without_band, models / "without_band")
    kept = filter_samples(synthetic, DEMO.filter, work / "filtered")
    parts = [draw(models / f"part{number}", size, seed=number + 1) for number, size in enumerate(PARTS)]
    rows = {
        "demo": ("all images", [synthetic]),
        "no_band": ("the same, no uncertainty band", [models / "without_band"]),
        "filtered": (f"those that pass `{DEMO.filter.rules[0]}`", [kept.path]),
        **{f"others_{used}": ("other images", parts[:used]) for used in range(1, len(parts) + 1)},
    }
    datasets = []
    for name, (title, folders) in rows.items():
        scores = [score(folders, train, models / "trained" / name / str(seed), seed) for seed in range(repeats)]
        images = sum(len(DatasetStore.open(folder)) for folder in folders)
        spread = f"{min(scores):.3f} to {max(scores):.3f}"
        datasets.append({"trained on": title, "images": images, "mIoU": mean(scores), "of the seeds": spread})
    return {"segmenters": segmenters, "datasets": datasets}


def labels_of(dataset: Path) -> LabelSettings:
    """How a dataset is labelled."""
    label = DatasetStore.open(dataset).manifest.provenance.label
    if label is None:
        raise ValueError(f"nobody labelled {dataset} from attention")
    return label


def draw(folder: Path, count: int, seed: int) -> Path:
    """A synthetic dataset as the demo draws it."""
    prompts = folder.with_suffix(".jsonl")
    make_prompts(PromptSettings(num_images=count), prompts, seed=seed)
    generate_dataset(prompts, GenerateSettings(), folder, label=LabelOptions(), seed=seed)
    return folder


def score(datasets: Sequence[Path], settings: TrainSettings, model: Path, seed: int = 0) -> float:
    """MIoU on the held-out scenes of a segmenter trained on datasets."""
    train_stage(datasets, settings, model, seed=seed)
    miou: float = evaluate(model, EvaluateSettings(), model.with_suffix(".json"))["miou"]
    return miou
