"""Pictures to learn a reading from, and how well label maps agree with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, UInt8
from torch import Tensor

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.diffusion.pictures import Picture
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.labelling.assign import UNCERTAIN, assign_labels, evidence
from dataset_diffusion.records import Heatmaps


@dataclass(frozen=True, eq=False)
class Example:
    """A picture as the model looks at it, and where the target says its classes are: ids, 255 where it is not sure."""

    picture: Picture
    target: UInt8[np.ndarray, "h w"]

    @property
    def classes(self) -> tuple[int, ...]:
        """The class ids that its prompt names."""
        return self.picture.prompt.classes


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures, and the numbers of those to learn from and of those kept back."""

    examples: Sequence[Example]
    fitted: list[int]
    back: list[int]


def evidence_of(heatmaps: Heatmaps, example: Example, label: LabelSettings) -> Float16[Tensor, "classes h w"]:
    """The evidence that a label map of the example is made from, as `labelling.assign.evidence` gives it."""
    image = example.picture.image
    return evidence(heatmaps, image.shape[:2], label, image=image).half()


def agreement(
    shown: dict[int, Float16[Tensor, "classes h w"]],
    examples: Sequence[Example],
    which: Sequence[int],
    threshold: float,
    uncertainty_threshold: float,
) -> tuple[float, float]:
    """MIoU of the label maps with the targets, over the pixels that are certain in both, and the share that is not.

    Where no pixel is certain nothing agrees.
    """
    unsure, pairs = [], []
    for index in which:
        example = examples[index]
        label = assign_labels(
            shown[index], example.classes, example.target.shape, threshold, uncertainty_threshold
        ).numpy()
        unsure.append((label == UNCERTAIN).mean())
        known = np.where(label == UNCERTAIN, UNCERTAIN, example.target)
        pairs.append((np.where(label == UNCERTAIN, 0, label), known))
    if np.mean(unsure) == 1:
        return 0.0, 1.0
    highest = max(max(example.classes) for example in examples)
    return evaluate_labels(pairs, num_classes=highest + 1).miou, float(np.mean(unsure))
