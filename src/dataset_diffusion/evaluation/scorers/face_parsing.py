"""Face parsing scores: F1 and accuracy of each part of the face, from the confusion matrix over a dataset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from dataset_diffusion.evaluation.scorers.semantic import SemanticScorer, SemanticScores
from dataset_diffusion.prompts.class_sets import ClassSet


class FaceParsingScorer(SemanticScorer):
    """`SemanticScorer` that also reports what papers on CelebAMask-HQ do; see `face_parsing_scores`."""

    def __init__(self, class_set: ClassSet) -> None:
        super().__init__(len(class_set.label_ids))
        self._class_set = class_set

    def scores(self) -> SemanticScores:
        """The scores so far, with those of each part in ``extra``."""
        return replace(super().scores(), extra=face_parsing_scores(self.confusion, self._class_set))


def face_parsing_scores(confusion: Int64[np.ndarray, "classes classes"], class_set: ClassSet) -> dict[str, Any]:
    """F1 and accuracy by part, from pixels by (true id, predicted id) over the class set's K + 1 ids.

    Returns:
        ``per_class_f1``: 2 TP / (2 TP + FP + FN) by part, of the parts that occur in the truth or in a prediction;
        ``mean_f1``: their mean, the background left out as in CelebAMask-HQ's own score (None where there is no part);
        ``per_class_accuracy``: the share of a part's true pixels that are found, of the parts that occur in the truth.
    """
    correct, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs, is_true = np.flatnonzero(true + predicted).tolist(), np.flatnonzero(true).tolist()
    f1 = {part: float(2 * correct[part] / (true[part] + predicted[part])) for part in occurs}
    parts = [value for part, value in f1.items() if part != 0]
    return {
        "per_class_f1": {class_set.name_of(part): value for part, value in f1.items()},
        "mean_f1": float(np.mean(parts)) if parts else None,
        "per_class_accuracy": {class_set.name_of(part): float(correct[part] / true[part]) for part in is_true},
    }
