"""Class-agnostic object discovery: predicted segments are matched to true ones, whatever their ids say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from dataset_diffusion.dataset.schema import LabelMap
from dataset_diffusion.evaluation.scorers.semantic import SemanticScorer, SemanticScores, count_pairs
from dataset_diffusion.prompts.class_sets import ClassSet

UNMATCHED = 255


class DiscoveryScorer:
    """Scores segments instead of classes.

    A segment is the pixels of one id, the background's too. In every image predicted segments are assigned one to one
    to true ones so that the sum of their IoUs is greatest (Hungarian method). The prediction, given the ids it was
    assigned, is then scored as any other; a segment left over is of no class.
    """

    def __init__(self, class_set: ClassSet) -> None:
        self._semantic = SemanticScorer(len(class_set.label_ids), no_class=UNMATCHED)
        self._iou_sum, self._objects = 0.0, 0

    def add(self, prediction: LabelMap, truth: LabelMap, name: str) -> None:
        """Count one image, whose prediction is a segmentation into any ids, 0..255; see `semantic.Scorer`."""
        counts = count_pairs(prediction, truth, name)
        counts[ClassSet.ignore_index] = 0
        matched, overlap = match_segments(counts)
        self._semantic.add(matched[prediction], truth, name)
        objects = np.flatnonzero(counts[1:].any(axis=1)) + 1
        self._iou_sum += float(overlap[objects].sum())
        self._objects += len(objects)

    def scores(self) -> SemanticScores:
        """The scores so far, with ``mean_object_iou`` in ``extra``: the mean over all objects of all images (true
        segments but the background's) of the IoU with what was assigned to them; None where there is no object.
        """
        mean = self._iou_sum / self._objects if self._objects else None
        return replace(self._semantic.scores(), extra={"mean_object_iou": mean, "num_objects": self._objects})


def match_segments(
    counts: Int64[np.ndarray, "ids ids"],
) -> tuple[UInt8[np.ndarray, " ids"], Float64[np.ndarray, " ids"]]:
    """Assign predicted segments to true ones, from pixels by (true id, predicted id).

    Returns:
        The true id by predicted id, `UNMATCHED` where there is none; and by true id the IoU with the segment that was
        assigned to it, 0 where there is none.
    """
    true, predicted = np.flatnonzero(counts.any(axis=1)), np.flatnonzero(counts.any(axis=0))
    both = counts[np.ix_(true, predicted)]
    iou = both / (both.sum(axis=1, keepdims=True) + both.sum(axis=0, keepdims=True) - both)
    from scipy.optimize import linear_sum_assignment  # a second of CPU, which naming the benchmark does not need

    rows, columns = linear_sum_assignment(iou, maximize=True)
    touching = iou[rows, columns] > 0
    rows, columns = rows[touching], columns[touching]
    matched = np.full(len(counts), UNMATCHED, dtype=np.uint8)
    matched[predicted[columns]] = true[rows]
    overlap = np.zeros(len(counts))
    overlap[true[rows]] = iou[rows, columns]
    return matched, overlap
