"""How should attention be read? Readings learned from labelled scenes and from a segmenter, against those that average.

Every reading is learned on scenes or drawn pictures of other seeds than the held-out scenes, on which all are scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.label_quality import read_heatmaps, score_labels
from benchmarks.oracle import CLASSES, agreement

from dataset_diffusion.config import CalibrateSettings, LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.learned import unlearned
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.reading import Reading
from dataset_diffusion.records import Sample
from dataset_diffusion.stages.calibrate import calibrate, dataset_examples, learn_reading

Row = dict[str, Any]

LABELLED = 64
"""Labelled scenes that a reading is learned from."""
LEFT_OUT = (1, 3, 5, 7, 9, 11)
"""Classes that a reading is not shown, to see whether it knows classes."""

ABLATION: dict[str, dict[str, bool]] = {
    "every layer, heads averaged": {"heads": False, "start_token": False, "competition": False},
    "and heads apart": {"start_token": False, "competition": False},
    "and against the start token": {"competition": False},
    "and against the other classes of the prompt": {},
}


def score_reading(model: DiffusionModel, reading: Reading, samples: Sequence[Sample], refine: str = "pamr") -> float:
    """MIoU of its labels with the truth of scenes, no pixel uncertain, at the middle of its thresholds."""
    return float(score_labels(samples, read_heatmaps(model, samples, reading), band_off(reading.label, refine))["mIoU"])


def band_off(label: LabelSettings, refine: str = "pamr") -> LabelSettings:
    """Labels without an uncertain pixel: one threshold in the middle of the two."""
    middle = round((label.threshold + label.uncertainty_threshold) / 2, 3)
    asked = {"threshold": middle, "uncertainty_threshold": middle, "refine": refine}
    return label.model_copy(update=asked)


def learn_from_labels(model: DiffusionModel, scenes: Path, count: int, seed: int, **features: bool) -> Reading:
    """A reading learned from scenes with true masks; none is kept back, since it is scored on other scenes."""
    settings = CalibrateSettings(num_images=count, kept_back=0)
    examples = dataset_examples(DatasetStore.open(scenes), settings)
    chosen = unlearned(model.cross_attention_heads(), **features)
    return learn_reading(model, examples, settings, seed, chosen)


def ablation(model: DiffusionModel, scenes: Path, held_out: Sequence[Sample], seeds: Iterable[int]) -> list[Row]:
    """What each kind of feature adds, learned from labelled scenes."""
    rows = []
    for title, features in ABLATION.items():
        readings = [learn_from_labels(model, scenes, LABELLED, seed, **features) for seed in seeds]
        scores = [score_reading(model, reading, held_out) for reading in readings]
        rows.append({"the reading sees": title, "mIoU": float(np.mean(scores)), "of the seeds": spread(scores)})
    return rows


def classes_left_out(model: DiffusionModel, scenes: Path, held_out: Sequence[Sample], count: int = 240) -> Row:
    """Mean IoU of classes that the reading was never shown, beside that of one that was shown all of them."""
    settings = CalibrateSettings(num_images=count, kept_back=0)
    examples = dataset_examples(DatasetStore.open(scenes), settings)
    some = [one for one in examples if not set(one.classes) & set(LEFT_OUT)]
    alike = examples[: len(some)]
    found = {}
    for title, shown in (("left out", some), ("shown", alike)):
        reading = learn_reading(model, shown, settings, seed=0)
        found[title] = _iou_of(LEFT_OUT, model, reading, held_out)
    return {"scenes": len(some), "their classes": ", ".join(map(CLASSES.name_of, LEFT_OUT)), **found}


def _iou_of(classes: Sequence[int], model: DiffusionModel, reading: Reading, samples: Sequence[Sample]) -> float:
    heatmaps = read_heatmaps(model, samples, reading)
    label = band_off(reading.label)
    pairs = (
        (label_map(maps, one.prompt.classes, one.label.shape, label, image=one.image), one.label)
        for one, maps in zip(samples, heatmaps, strict=True)
    )
    scores = evaluate_labels(pairs, num_classes=len(CLASSES.label_ids))
    return float(np.mean([scores.per_class_iou[one] for one in classes]))


def taught(dataset: Path, teacher: Path, out: Path, seed: int) -> Reading:
    """A reading learned without a mask, from what a segmenter sees in the pictures it was trained on."""
    return calibrate(dataset, CalibrateSettings(teacher=teacher), out, seed=seed).reading


def drawn_agreement(samples: Sequence[Sample], seen: Sequence[np.ndarray]) -> Row:
    """How far labels of drawn pictures agree with an oracle, where they are certain, and the share that is not."""
    uncertain = float(np.mean([one.quality["uncertain"] for one in samples]))
    return {"mIoU": agreement([one.label for one in samples], seen), "uncertain": uncertain}


def spread(scores: Sequence[float]) -> str:
    """The lowest and the highest of some scores."""
    return f"{min(scores):.3f} to {max(scores):.3f}"
