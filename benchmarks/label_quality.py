"""How good are labels read from attention? Measured on scenes whose truth is known, one choice varied at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from benchmarks.oracle import agreement

from dataset_diffusion.config import STORED_EXPONENTS, LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.reading import Reading
from dataset_diffusion.records import Heatmaps, Sample
from dataset_diffusion.seeding import sample_seed

SCENES = Path("build/results/real_scenes")
"""Where results.py writes scenes that no table is measured on, to choose by and to train on."""

BATCH = 16
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)

Row = dict[str, str | float]


def label_ablation(model: DiffusionModel, scenes: Path, chosen: LabelSettings) -> dict[str, list[Row]]:
    """One table per choice, for readings that average: layers, prompt, exponent, refinement, thresholds."""
    samples = list(DatasetStore.open(scenes))
    plain, published = (model.spec.resolve_reading(name) for name in ("plain", "published"))
    readings = {
        "class prompt": plain,
        "class words of the text prompt": plain.model_copy(update={"prompt": "text"}),
        "every 16x16 layer": published,
        "every 16x16 layer, text prompt": published.model_copy(update={"prompt": "text"}),
    }
    read = {name: read_heatmaps(model, samples, reading) for name, reading in readings.items()}
    ours, every = read["class prompt"], read["every 16x16 layer"]
    layers = {"the spec's layers": ours, "every 16x16 layer (published)": every}
    band_off = chosen.model_copy(update={"uncertainty_threshold": chosen.threshold})
    exponents = [band_off.model_copy(update={"exponent": exponent}) for exponent in STORED_EXPONENTS]
    cuts = [band_off.model_copy(update={"threshold": cut, "uncertainty_threshold": cut}) for cut in THRESHOLDS]
    unrefined = band_off.model_copy(update={"refine": "none"})
    bands = [(t, t) for t in THRESHOLDS[1:4]] + [(0.5, 0.4), (0.6, 0.5), (0.6, 0.4), (0.7, 0.3)]
    banded = [chosen.model_copy(update={"threshold": a, "uncertainty_threshold": b}) for a, b in bands]
    return {
        "read": [{"attention of": name, **score_labels(samples, maps, band_off)} for name, maps in read.items()],
        "exponent": [
            {"layers": name, "exponent": s.exponent, **score_labels(samples, maps, s)}
            for name, maps in layers.items()
            for s in exponents
        ],
        "refine": [
            {"refinement": s.refine, "exponent": s.exponent, **score_labels(samples, ours, s)}
            for exponent in STORED_EXPONENTS[:4]
            for s in (
                unrefined.model_copy(update={"exponent": exponent}),
                band_off.model_copy(update={"exponent": exponent}),
            )
        ],
        "threshold": [{"threshold": s.threshold, **score_labels(samples, ours, s)} for s in cuts],
        "band": [
            {"threshold": s.threshold, "uncertainty threshold": s.uncertainty_threshold}
            | score_labels(samples, ours, s)
            for s in banded
        ],
    }


def read_heatmaps(model: DiffusionModel, samples: Sequence[Sample], reading: Reading) -> list[Heatmaps]:
    """Heatmaps of given images, by the attention the model pays them."""
    heatmaps = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        seeds = [sample_seed(sample.seed, sample.prompt.index) for sample in batch]
        maps = model.attend([s.image for s in batch], [s.prompt for s in batch], seeds, reading)
        heatmaps += [class_heatmaps(attention) for attention in maps]
    return heatmaps


def score_labels(samples: Sequence[Sample], heatmaps: Iterable[Heatmaps], settings: LabelSettings) -> Row:
    """MIoU of label maps over their certain pixels, and the share of pixels that are not."""
    labels = []
    for sample, maps in zip(samples, heatmaps, strict=True):
        labels.append(label_map(maps, sample.prompt.classes, sample.label.shape, settings, image=sample.image))
    ignored = float(np.mean([(label == 255).mean() for label in labels]))
    return {"mIoU": agreement(labels, [sample.label for sample in samples]), "ignored": ignored}
