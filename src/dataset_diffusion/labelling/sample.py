"""A picture and its attention become a labelled sample."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.records import Generation, Heatmaps, Prompt, Sample


def label_generation(
    prompt: Prompt,
    seed: int,
    generation: Generation,
    settings: LabelSettings,
    stored: UInt8[np.ndarray, "h w 3"] | None = None,
) -> Sample:
    """Label a picture, generated or given, from its attention.

    Args:
        prompt: what the picture was generated from, or what it shows.
        seed: the sample's own.
        generation: the picture and its attention.
        settings: exponent, thresholds and refinement.
        stored: the picture as it reads back from a dataset, which refinement looks at as relabelling will; None takes
            the picture itself.

    Raises:
        ValueError: the picture comes without its attention.
    """
    image, attention = generation.image, generation.attention
    if attention is None:
        raise ValueError("an image can only be labelled from its attention")
    return label_heatmaps(prompt, seed, image, class_heatmaps(attention), settings, stored=stored)


def label_heatmaps(
    prompt: Prompt,
    seed: int,
    image: UInt8[np.ndarray, "h w 3"],
    heatmaps: Heatmaps,
    settings: LabelSettings,
    *,
    stored: UInt8[np.ndarray, "h w 3"] | None = None,
) -> Sample:
    """`label_generation`, where the heatmaps are made already."""
    seen = image if stored is None else stored
    label = label_map(heatmaps, prompt.classes, image.shape[:2], settings, image=seen)
    return Sample(seed, prompt, image, label, heatmaps, quality_scores(label, prompt.classes, heatmaps))
