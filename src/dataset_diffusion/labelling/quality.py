"""Scores that say how far one sample's label map can be trusted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from dataset_diffusion.labelling.assign import BACKGROUND
from dataset_diffusion.records import Heatmaps


def presence(heatmaps: Heatmaps) -> Float32[np.ndarray, " classes"]:
    """How much attention each class's word drew at the pixel where it drew most: the raw maximum, in about [0, 1].

    Normalised heatmaps cannot tell a class that was drawn from one that was not: min-max lifts both to 1. The raw
    maximum of the map with the fewest products can, since every product only averages it.

    Returns:
        float32, "classes", in the order of the heatmaps; bicubic resizing may overshoot [0, 1] a little.
    """
    return heatmaps.ranges[0, :, 1]


def quality_scores(
    label: UInt8[np.ndarray, "h w"], heatmaps: Heatmaps | None, ignore_index: int = 255
) -> dict[str, float]:
    """The scores stored with a sample.

    Args:
        label: the label map.
        heatmaps: what it was made from; None where the truth is known.
        ignore_index: the id of uncertain pixels.

    Returns:
        ``uncertain``: share of uncertain pixels; ``foreground``: share of pixels labelled with a class;
        ``presence``: `presence` of the class that drew least, left out without heatmaps.
    """
    uncertain = label == ignore_index
    scores = {
        "uncertain": float(uncertain.mean()),
        "foreground": float((~uncertain & (label != BACKGROUND)).mean()),
    }
    if heatmaps is not None:
        scores["presence"] = float(presence(heatmaps).min())
    return scores
