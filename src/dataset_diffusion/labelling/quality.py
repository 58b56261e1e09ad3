"""Scores that say how far one sample's label map can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy import ndimage

from dataset_diffusion.labelling.assign import BACKGROUND, UNCERTAIN
from dataset_diffusion.labelling.propagate import propagate
from dataset_diffusion.records import AttentionMaps, Heatmaps, Score


def presence(heatmaps: Heatmaps) -> Float32[np.ndarray, " classes"]:
    """How strongly, and in how little of the image, attention found each class: ``max(A) (1 - mean(H))``.

    A is the raw map after the first stored product and H the same map normalised. H alone cannot tell a class that was
    drawn from one that was not: min-max lifts both to 1. The attention of a word that found nothing is weak (a low
    maximum) or spread over everything (a high mean). The first product smooths single cells out of A; more of them
    smooth away what is to be found. How high the score of a drawn class is depends on the model and the word, so
    compare it with the same class's score in other images.

    Returns:
        float32 in about [0, 1], "classes", in the order of the heatmaps; bicubic resizing may overshoot a little.
    """
    position = min(1, len(heatmaps.exponents) - 1)
    spread: Float32[np.ndarray, " classes"] = heatmaps.values[position].mean(axis=(1, 2), dtype=np.float32)
    scores: Float32[np.ndarray, " classes"] = heatmaps.ranges[position, :, 1] * (1 - spread)
    return scores


def strongest_attention(attention: AttentionMaps) -> Float32[np.ndarray, " classes"]:
    """The highest attention that each class has in a picture after one self-attention product, "classes"."""
    maps = propagate(attention.cross_attention, attention.self_attention, attention.self_shape, exponent=1)
    highest: Float32[np.ndarray, " classes"] = maps.amax(dim=(-2, -1)).cpu().numpy()
    return highest


def stand_out(scores: Float[np.ndarray, "pictures classes"]) -> Float[np.ndarray, "pictures classes"]:
    """How far each class's score in a picture is above the median of its scores in all pictures.

    A word draws more or less attention whether or not there is anything to see, so only the same word's scores compare.

    Returns:
        In median absolute deviations; 0 for a class whose scores are all the same, as those of a single picture are.

    Example:
        >>> stand_out(np.array([[0.1, 5.0], [0.3, 5.0], [0.2, 5.0], [0.8, 5.0]])).round(2).tolist()
        [[-1.5, 0.0], [0.5, 0.0], [-0.5, 0.0], [5.5, 0.0]]
    """
    above = scores - np.median(scores, axis=0)
    deviation = np.median(np.abs(above), axis=0)
    known = np.broadcast_to(deviation > 0, above.shape)
    found: Float[np.ndarray, "pictures classes"] = np.divide(above, deviation, out=np.zeros_like(above), where=known)
    return found


def quality_scores(
    label: UInt8[np.ndarray, "h w"], class_ids: Sequence[int], heatmaps: Heatmaps | None
) -> dict[str, float]:
    """The scores stored with a sample.

    Args:
        label: the label map.
        class_ids: the class ids that the prompt names, in the order of the heatmaps.
        heatmaps: what the label map was made from; None where the truth is known.

    Returns:
        ``uncertain``: share of uncertain pixels; ``foreground``: share of pixels labelled with a class; of each class
        ``area.<id>``: share of pixels labelled with it, and ``components.<id>``: number of connected regions of them;
        with heatmaps also its ``presence.<id>``, see `presence`, and ``presence``, the lowest of them.
    """
    scores: dict[str, float] = {
        Score.UNCERTAIN: float((label == UNCERTAIN).mean()),
        Score.FOREGROUND: float(((label != BACKGROUND) & (label != UNCERTAIN)).mean()),
    }
    for class_id in class_ids:
        pixels = label == class_id
        scores[Score.AREA.of(class_id)] = float(pixels.mean())
        scores[Score.COMPONENTS.of(class_id)] = float(ndimage.label(pixels)[1])
    if heatmaps is not None:
        found = presence(heatmaps).tolist()
        scores |= {Score.PRESENCE.of(class_id): score for class_id, score in zip(class_ids, found, strict=True)}
        scores[Score.PRESENCE] = min(found)
    return scores
