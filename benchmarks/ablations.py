"""The paper's ablations on the embedded world: segmenters, number of images, uncertainty band, samples dropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset_diffusion.cli import DEMO
from dataset_diffusion.config import EvaluateSettings, GenerateSettings, PromptSettings, TrainSettings
from dataset_diffusion.dataset.rules import parse_rule
from dataset_diffusion.runtime.drawing import make_dataset
from dataset_diffusion.runtime.evaluating import evaluate_model
from dataset_diffusion.runtime.filtering import filter_dataset
from dataset_diffusion.runtime.prompting import make_prompts
from dataset_diffusion.runtime.relabelling import relabel_dataset
from dataset_diffusion.runtime.training import make_segmenter

SEGMENTERS = {"DeepLabV3": "deeplabv3-resnet18", "Mask2Former": "mask2former-small"}
"""The paper's segmenters in the sizes that a CPU trains in minutes."""

PARTS = (250, 250, 500, 1000)
"""Sizes of datasets that are trained on together: the first, the first two, and so on."""

RULE = "presence >= 0.4"

Row = dict[str, Any]


def measure_ablations(work: Path, count: int, train: TrainSettings) -> dict[str, list[Row]]:
    """Two tables, each row a segmenter tested on the held-out scenes.

    Args:
        work: folder with ``synthetic`` and ``real_scenes``, datasets of ``count`` images each.
        count: their number of images.
        train: how every segmenter is trained, but for what its row changes.
    """
    synthetic, real, models = work / "synthetic", work / "real_scenes", work / "ablations"
    segmenters = []
    for title, name in SEGMENTERS.items():
        settings = train.model_copy(update={"segmenter": name})
        on_synthetic = score([synthetic], settings, models / f"{name}-synthetic")
        on_real = score([real], settings, models / f"{name}-real")
        ratio = on_synthetic / on_real
        segmenters.append(
            {"segmenter": f"{title} (`{name}`)", "synthetic": on_synthetic, "real": on_real, "ratio": ratio}
        )
    without_band = DEMO.label.model_copy(update={"uncertainty_threshold": DEMO.label.threshold})
    relabel_dataset(synthetic, without_band, models / "without_band")
    kept, _ = filter_dataset(synthetic, [parse_rule(RULE)], models / "filtered")
    datasets = [
        {
            "trained on": "no uncertainty band",
            "images": count,
            "mIoU": score([models / "without_band"], train, models / "no_band_model"),
        },
        {
            "trained on": f"only `{RULE}`",
            "images": len(kept),
            "mIoU": score([models / "filtered"], train, models / "filtered_model"),
        },
    ]
    parts = [draw(models / f"part{number}", size, seed=number + 1) for number, size in enumerate(PARTS)]
    for used in range(1, len(parts) + 1):
        total = sum(PARTS[:used])
        miou = score(parts[:used], train, models / f"model_of_{total}")
        datasets.append({"trained on": "other images", "images": total, "mIoU": miou})
    return {"segmenters": segmenters, "datasets": datasets}


def draw(folder: Path, count: int, seed: int) -> Path:
    """A synthetic dataset as the demo draws it."""
    prompts = folder.with_suffix(".jsonl")
    make_prompts(PromptSettings(num_images=count), seed, prompts)
    make_dataset(prompts, GenerateSettings(), DEMO.label, seed, folder)
    return folder


def score(datasets: Sequence[Path], settings: TrainSettings, model: Path) -> float:
    """MIoU on the held-out scenes of a segmenter trained on datasets."""
    make_segmenter(datasets, settings, 0, model)
    miou: float = evaluate_model(model, EvaluateSettings(), model.with_suffix(".json"))["miou"]
    return miou
