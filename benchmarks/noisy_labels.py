"""What helps a segmenter that learns from attention's labels? One change a row, three seeds, on scenes kept for choosing.

The scenes that results.py reports are not looked at. The same command again resumes; finished trainings are kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from benchmarks.ablations import draw
from benchmarks.results import ROOT

from dataset_diffusion.config import EvaluateSettings, TrainSettings
from dataset_diffusion.disk.atomic import write_json
from dataset_diffusion.stages.evaluate import evaluate
from dataset_diffusion.stages.train import train

SCENES_SEED = 5
"""Of the scenes to choose by: the model's have 1, the held-out ones 2, those of results.py 3."""

CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "self-training": {"self_training": 1},
    "kept to the prompt's classes": {"self_training": 1, "self_training_classes": "prompt"},
    "averaged with the attention": {
        "self_training": 1,
        "self_training_classes": "prompt",
        "self_training_attention": 0.5,
        "self_training_confidence": 0.6,
    },
    "weighed pixels": {"weigh_pixels": True},
    "robust loss, q = 0.3": {"robustness": 0.3},
    "robust loss, q = 0.7": {"robustness": 0.7},
    "strong augmentation": {"augmentation": "strong"},
    "slower average of weights": {"ema_decay": 0.997},
}
"""What each row changes. Rows of self-training train for half the steps twice, so that all train for as many."""


class Size(NamedTuple):
    """How much is drawn, trained and tested on."""

    images: int
    iterations: int
    scenes: int
    batch_size: int


SIZES = {"small": Size(96, 120, 96, 8), "medium": Size(240, 700, 240, 16), "full": Size(1000, 1000, 256, 16)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/noisy_labels"), help="where runs are kept")
    parser.add_argument("--size", choices=SIZES, default="small", help="how much is drawn, trained and tested on")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of every row, with other seeds")
    parser.add_argument("--icons", type=Path, default=Path("build/embedded_model"), help="where icons are installed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, work = SIZES[options.size], options.work / options.size
    scenes = make_scenes(work / "scenes", size.scenes, options.icons)
    drawn = draw(work / "drawn", size.images, seed=11)
    scores: dict[str, list[float]] = {name: [] for name in CHANGES}
    # All rows of a seed before the next seed, so that a table of what there is compares like with like.
    for seed in range(options.repeats):
        for name, change in CHANGES.items():
            settings = settings_of(size, change)
            scores[name].append(score(drawn, settings, scenes, work / "trained" / name / str(seed), seed))
            write_json(work / "scores.json", scores)
            print(f"{name}, seed {seed}: {scores[name][-1]:.4f}", file=sys.stderr, flush=True)
    print(*table(scores), sep="\n")


def make_scenes(folder: Path, count: int, icons: Path) -> Path:
    """Scenes with true labels that nothing else is trained or measured on."""
    tool = str(ROOT / "tools" / "embedded_model" / "make_scenes.py")
    arguments = ["--out", str(folder), "--num-scenes", str(count), "--seed", str(SCENES_SEED), "--icons", str(icons)]
    subprocess.run([sys.executable, tool, *arguments], check=True)
    return folder


def settings_of(size: Size, change: dict[str, Any]) -> TrainSettings:
    """Settings of a row: all rows train for ``size.iterations`` steps, over all their rounds."""
    rounds = 1 + change.get("self_training", 0)
    return TrainSettings(iterations=size.iterations // rounds, batch_size=size.batch_size, **change)


def score(drawn: Path, settings: TrainSettings, scenes: Path, model: Path, seed: int) -> float:
    """MIoU on scenes of a segmenter trained on drawn pictures; kept beside it."""
    file = model.with_suffix(".json")
    if file.exists():
        found: float = json.loads(file.read_text())["miou"]
        return found
    train([drawn], settings, model, seed=seed)
    miou: float = evaluate(model, EvaluateSettings(benchmark=str(scenes)), file)["miou"]
    return miou


def table(scores: dict[str, list[float]]) -> list[str]:
    """A line a row: its mean, its seeds, and how much better each is than the plain training of the same seed."""
    lines = ["| change | mIoU | of the seeds | gain over plain, of the seeds |", "|---|---|---|---|"]
    for name, values in scores.items():
        gains = [value - plain for value, plain in zip(values, scores["plain"], strict=False)]
        seeds = ", ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {name} | {mean(values):.3f} | {seeds} | {', '.join(f'{gain:+.3f}' for gain in gains)} |")
    return lines


if __name__ == "__main__":
    main()
