"""How good are labels read from attention? Measured on scenes whose truth is known, one choice varied at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.oracle import agreement

from dataset_diffusion.config import STORED_EXPONENTS, CaptureSettings, LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.families.unet import UNetModel
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.records import Heatmaps, Sample
from dataset_diffusion.seeding import sample_seed

SCENES = Path("build/results/real_scenes")
"""Where results.py writes scenes that no table is measured on, to choose by and to train on."""

BATCH = 16
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)

PLAIN_AVERAGE = CaptureSettings(cross_attention_layers=("",), self_attention_layers=("",))
"""Every layer of the resolution, as published; the spec's own choice is `CaptureSettings()`."""

Row = dict[str, str | float]


def label_ablation(model: DiffusionModel, scenes: Path, chosen: LabelSettings) -> dict[str, list[Row]]:
    """One table per choice: what attention is read against, layers, exponent, refinement, thresholds."""
    samples = list(DatasetStore.open(scenes))
    read = {
        "class prompt": read_heatmaps(model, samples, CaptureSettings()),
        "class words of the text prompt": read_heatmaps(model, samples, CaptureSettings(prompt="text")),
        "every 16x16 layer": read_heatmaps(model, samples, PLAIN_AVERAGE),
        "every 16x16 layer, text prompt": read_heatmaps(
            model, samples, PLAIN_AVERAGE.model_copy(update={"prompt": "text"})
        ),
    }
    ours, plain = read["class prompt"], read["every 16x16 layer"]
    layers = {"the spec's layers": ours, "every 16x16 layer (published)": plain}
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


def read_heatmaps(model: DiffusionModel, samples: Sequence[Sample], capture: CaptureSettings) -> list[Heatmaps]:
    """Heatmaps of given images, by the attention the model pays them."""
    heatmaps = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        seeds = [sample_seed(sample.seed, sample.prompt.index) for sample in batch]
        maps = model.attend([s.image for s in batch], [s.prompt for s in batch], seeds, capture)
        heatmaps += [class_heatmaps(attention) for attention in maps]
    return heatmaps


def score_labels(samples: Sequence[Sample], heatmaps: Iterable[Heatmaps], settings: LabelSettings) -> Row:
    """MIoU of label maps over their certain pixels, and the share of pixels that are not."""
    labels = []
    for sample, maps in zip(samples, heatmaps, strict=True):
        labels.append(label_map(maps, sample.prompt.classes, sample.label.shape, settings, image=sample.image))
    ignored = float(np.mean([(label == 255).mean() for label in labels]))
    return {"mIoU": agreement(labels, [sample.label for sample in samples]), "ignored": ignored}


def best_settings(model: DiffusionModel, scenes: Path, count: int = 96) -> LabelSettings:
    """The exponent and threshold with the best refined labels, band off, on scenes that no table is measured on."""
    store = DatasetStore.open(scenes)
    samples = [store[index] for index in range(count)]
    heatmaps = read_heatmaps(model, samples, CaptureSettings())
    choices = [
        LabelSettings(exponent=exponent, threshold=cut, uncertainty_threshold=cut, refine="pamr")
        for exponent in STORED_EXPONENTS[:4]
        for cut in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
    ]
    return max(choices, key=lambda choice: score_labels(samples, heatmaps, choice)["mIoU"])


def with_layers(model: DiffusionModel, cross: tuple[str, ...], self_attention: tuple[str, ...]) -> DiffusionModel:
    """The same model read in other layers."""
    spec = replace(
        model.spec,
        cross_attention=replace(model.spec.cross_attention, prefixes=cross),
        self_attention=replace(model.spec.self_attention, prefixes=self_attention),
    )
    return UNetModel(spec, model.pipeline)
