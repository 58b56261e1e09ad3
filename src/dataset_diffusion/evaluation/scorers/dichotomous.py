"""Dichotomous segmentation scores (foreground or not), by the implementation that the field's tables are made with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dataset_diffusion.dataset.schema import LabelMap
from dataset_diffusion.evaluation.scorers.semantic import SemanticScorer, SemanticScores

FOREGROUND = 1
HALF = 128


def foreground_ids(prediction: LabelMap) -> LabelMap:
    """A foreground map, 0..255, as class ids: `FOREGROUND` from one half on."""
    return (prediction >= HALF).astype(np.uint8)


class DichotomousScorer:
    """F, weighted F, MAE, S and E measures and human correction effort, each a mean over images.

    Predictions are foreground maps, uint8 in [0, 255]; the measures stretch each to its own minimum and maximum, as
    DIS5K's own evaluation does. The IoU and the pixel accuracy beside them are taken at one half, over the dataset.
    """

    def __init__(self) -> None:
        import py_sod_metrics as sod  # imports scikit-learn, seconds that no other benchmark should pay

        self._semantic = SemanticScorer(num_classes=2)
        # beta squared is 0.3 in every paper on salient objects.
        self._f = sod.FmeasureV2({"f": sod.FmeasureHandler(with_dynamic=True, with_adaptive=False, beta=0.3)})
        self._weighted_f, self._mae, self._s = sod.WeightedFmeasure(), sod.MAE(), sod.Smeasure()
        self._e, self._hce = sod.Emeasure(), sod.HumanCorrectionEffortMeasure()

    def add(self, prediction: LabelMap, truth: LabelMap, name: str) -> None:
        """Count one image: how surely each pixel is foreground, 0..255, and 1 where it is; see `semantic.Scorer`."""
        self._semantic.add(foreground_ids(prediction), truth, name)
        mask = np.where(truth == FOREGROUND, np.uint8(255), np.uint8(0))
        for measure in (self._f, self._weighted_f, self._mae, self._s, self._e, self._hce):
            measure.step(prediction, mask)

    def scores(self) -> SemanticScores:
        """The scores so far, with ``max_f``, ``mean_f``, ``weighted_f``, ``mae``, ``s_alpha``, ``max_e``, ``mean_e``
        and ``hce`` in ``extra``; of ``mae`` and ``hce`` less is better, ``hce`` is points to click.
        """
        semantic = self._semantic.scores()
        f, e = self._f.get_results()["f"]["dynamic"], self._e.get_results()["em"]["curve"]
        extra = {
            "max_f": f.max(),
            "mean_f": f.mean(),
            "weighted_f": self._weighted_f.get_results()["wfm"],
            "mae": self._mae.get_results()["mae"],
            "s_alpha": self._s.get_results()["sm"],
            "max_e": e.max(),
            "mean_e": e.mean(),
            "hce": self._hce.get_results()["hce"],
        }
        return replace(semantic, extra={name: float(value) for name, value in extra.items()})
