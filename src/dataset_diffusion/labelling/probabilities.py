"""How likely the attention makes each class at each pixel: what a label map says, before it is cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.labelling.assign import check_exponent, evidence
from dataset_diffusion.labelling.maps import float_maps, resize
from dataset_diffusion.records import Heatmaps

_SUREST = 1e-3
"""No heatmap is nearer to 0 or 1 than this: one pixel must not outweigh all other evidence."""


def label_probabilities(
    heatmaps: Heatmaps,
    class_ids: Sequence[int],
    num_labels: int,
    settings: LabelSettings,
    image: UInt8[np.ndarray, "h w 3"],
) -> Float32[Tensor, "labels h w"]:
    """Class probabilities that stored heatmaps and settings give, of the background and the classes of the prompt.

    The odds of a class against the background are those of its heatmap m against the middle t of the uncertainty band:
    ``m / (1 - m) * (1 - t) / t``. So the most probable class is the one that `label_map` gives with the band off, and a
    pixel in the middle of the band is undecided. Classes that the prompt does not name are impossible.

    Args:
        heatmaps: of one image.
        class_ids: the class id of each heatmap, in 1..num_labels-1.
        num_labels: K + 1, the background included.
        settings: exponent, thresholds and refinement.
        image: uint8 RGB as it reads back from the dataset; its size is the result's.

    Returns:
        float32, "labels h w", which sums to 1 over the labels.

    Raises:
        ConfigError: the exponent is not among the stored ones.
    """
    check_exponent(settings.exponent, heatmaps.exponents)
    size = image.shape[:2]
    maps = resize(float_maps(evidence(heatmaps, size, settings, image=image), "heatmaps"), size)
    middle = torch.tensor((settings.threshold + settings.uncertainty_threshold) / 2).clamp(_SUREST, 1 - _SUREST)
    logits = torch.full((num_labels, *size), -torch.inf)
    logits[0] = 0.0
    logits[list(class_ids)] = maps.clamp(_SUREST, 1 - _SUREST).logit() - middle.logit()
    return logits.softmax(dim=0)
