"""Real photos through the path a user takes: a small segmenter trained on VOC's from random weights, tested on others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_diffusion.config import EvaluateSettings, TrainSettings
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.stages.evaluate import evaluate
from dataset_diffusion.stages.train import train

ITERATIONS = (150, 600, 1500)
SIDE = 128
"""Training crops of this side. At scale 1 a photo's longer side is fitted into it, so that 4:3 photos are tested at 3/4."""


def measure_photos(work: Path, root: Path) -> dict[str, Any]:
    """MIoU on the validation photos after several lengths of training, and of calling everything background.

    Args:
        work: where models are kept.
        root: the folder VOC2012.
    """
    rows = [{"trained for": "nothing: all background", "mIoU": score_background(root)}]
    for iterations in ITERATIONS:
        settings = TrainSettings(
            iterations=iterations, real="voc2012", real_root=root, augmentation="published", crop_size=SIDE
        )
        model = train([], settings, work / "photos" / str(iterations), seed=0).path
        shown = EvaluateSettings(benchmark="voc2012", root=root, short_side=SIDE * 3 // 4)
        scores = evaluate(model, shown, model.with_suffix(".json"))
        rows.append({"trained for": f"{iterations} steps", "mIoU": scores["miou"]})
    sizes = {f"{split}_photos": len(open_benchmark("voc2012", root, split)) for split in ("train", "val")}
    return {"rows": rows, **sizes}


def score_background(root: Path) -> float:
    """MIoU of label maps that are all background."""
    benchmark = open_benchmark("voc2012", root, "val")
    truths: Sequence[np.ndarray] = [benchmark.read_label(index) for index in range(len(benchmark))]
    pairs = ((np.zeros_like(truth), truth) for truth in truths)
    return evaluate_labels(pairs, num_classes=benchmark.class_set.num_classes + 1).miou
