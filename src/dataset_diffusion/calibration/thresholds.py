"""The exponent and the thresholds that fit heatmaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataset_diffusion.calibration.examples import Example, Split, agreement, evidence_of
from dataset_diffusion.config import STORED_EXPONENTS, LabelSettings, LearnSettings
from dataset_diffusion.machine.progress import Advance, progress
from dataset_diffusion.records import Heatmaps

THRESHOLDS = tuple(np.arange(0.15, 0.71, 0.05).round(2).tolist())
TRIED_EXPONENTS = STORED_EXPONENTS[:4]
BANDS = tuple(np.arange(0.0, 0.31, 0.01).round(2).tolist())
"""Thresholds, exponents and half-widths of the uncertainty band to choose from."""


def choose_labels(heatmaps: Sequence[Heatmaps], examples: Sequence[Example], settings: LearnSettings) -> LabelSettings:
    """Exponent and thresholds by which label maps agree best with the targets of examples."""
    everything = Split(examples, list(range(len(examples))), [])
    with progress("Try thresholds for the labels", len(examples) * len(TRIED_EXPONENTS), "pictures") as advance:
        return choose_on_split(heatmaps, everything, settings, advance)[0]


def choose_on_split(
    heatmaps: Sequence[Heatmaps], split: Split, settings: LearnSettings, advance: Advance
) -> tuple[LabelSettings, float]:
    """The exponent and thresholds that agree best with the fitted targets, and the score of the others, band off."""
    examples, fitted = split.examples, split.fitted
    best: tuple[float, LabelSettings, float] | None = None
    for exponent in TRIED_EXPONENTS:
        label = LabelSettings(exponent=exponent, refine=settings.refine)
        shown = {}
        for index in (*fitted, *split.back):
            shown[index] = evidence_of(heatmaps[index], examples[index], label)
            advance()
        agreed = {cut: agreement(shown, examples, fitted, cut, cut)[0] for cut in THRESHOLDS}
        cut = max(agreed, key=lambda one: agreed[one])
        if best is not None and best[0] >= agreed[cut]:
            continue
        bands = [band for band in BANDS if band <= min(cut, 1 - cut)]
        unsure = {band: agreement(shown, examples, fitted, cut + band, cut - band)[1] for band in bands}
        band = min(bands, key=lambda one: abs(unsure[one] - settings.uncertain))
        asked = {"threshold": round(cut + band, 2), "uncertainty_threshold": round(cut - band, 2)}
        best = (
            agreed[cut],
            label.model_copy(update=asked),
            agreement(shown, examples, split.back or fitted, cut, cut)[0],
        )
    assert best is not None
    return best[1:]
