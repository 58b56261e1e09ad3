"""What a segmenter trained on real scenes, the oracle, says about synthetic images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.records import Sample

CLASSES = class_set("emoji")
FOUND_SHARE = 0.005
"""A class is found where the oracle gives it at least this share of the image: 82 of 16,384 pixels."""


def is_found(prediction: np.ndarray, class_id: int) -> bool:
    return bool((prediction == class_id).mean() >= FOUND_SHARE)


def found_classes(samples: Sequence[Sample], seen: Sequence[np.ndarray]) -> Iterator[tuple[int, bool]]:
    """Every class that a prompt names, and whether the oracle finds it."""
    for sample, prediction in zip(samples, seen, strict=True):
        for class_id in sample.prompt.classes:
            yield class_id, is_found(prediction, class_id)


def agreement(labels: Sequence[np.ndarray], seen: Sequence[np.ndarray]) -> float:
    """MIoU of label maps and other label maps, over the pixels that are certain in the first."""
    pairs = (
        (np.where(label == CLASSES.ignore_index, 0, label), np.where(label == CLASSES.ignore_index, 255, other))
        for label, other in zip(labels, seen, strict=True)
    )
    return evaluate_labels(pairs, num_classes=CLASSES.num_classes + 1).miou
