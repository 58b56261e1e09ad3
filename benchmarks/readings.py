"""How should attention be read? Readings learned from scenes or from a segmenter, scored on scenes that none has seen."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.label_quality import SCENES, read_heatmaps, score_labels
from benchmarks.oracle import CLASSES
from benchmarks.pages import table

from dataset_diffusion.calibration.examples import Example
from dataset_diffusion.calibration.learning import weigh
from dataset_diffusion.calibration.thresholds import choose_labels
from dataset_diffusion.config import STORED_EXPONENTS, CalibrateSettings, LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.learned import read_layers, unlearned
from dataset_diffusion.diffusion.load import load_model
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.pictures import read_each
from dataset_diffusion.evaluation.readers.scenes import SCENES as HELD_OUT
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.labelling.assign import UNCERTAIN, label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.reading import LearnedLayers, Reading
from dataset_diffusion.records import Heatmaps, LayerMaps, Prompt
from dataset_diffusion.stages.calibrate import dataset_examples

Row = dict[str, Any]

NOISE_LEVEL = 1
LABELLED = 64
"""Labelled scenes that the readings of the ablation are learned from."""
LEFT_OUT = (1, 3, 5, 7, 9, 11)
"""Classes that a reading is not shown, to see whether it knows classes."""

BACKGROUND_WORDS = ("grass", "snow", "sand", "sea", "sky", "night", "table", "wall")
"""Of the places in the scenes' captions; no class."""

ABLATION: dict[str, dict[str, bool]] = {
    "every layer, heads averaged": {"heads": False, "start_token": False, "competition": False},
    "+ heads apart": {"start_token": False, "competition": False},
    "+ against the start token": {"competition": False},
    "+ against the other classes of the prompt": {},
}


@dataclass(frozen=True, eq=False)
class Scenes:
    """Labelled scenes, and what every layer and head says of them at one noise level."""

    examples: Sequence[Example]
    maps: Sequence[LayerMaps]

    def part(self, numbers: Sequence[int]) -> Scenes:
        """Some of them."""
        return Scenes([self.examples[one] for one in numbers], [self.maps[one] for one in numbers])


def look_at(model: DiffusionModel, folder: Path, count: int, words: Sequence[str] = ()) -> Scenes:
    """The first scenes of a dataset; ``words`` are read after the classes of each."""
    examples = dataset_examples(DatasetStore.open(folder), CalibrateSettings(num_images=count))
    attend = partial(model.attend_layers, reading=_unlearned(model))
    pictures = (one._replace(prompt=_with_words(one.prompt, words)) for one in (each.picture for each in examples))
    return Scenes(examples, list(read_each(pictures, attend, 16)))


def _with_words(prompt: Prompt, words: Sequence[str]) -> Prompt:
    ids = tuple(range(UNCERTAIN - len(words), UNCERTAIN))  # of no class
    return replace(
        prompt,
        class_prompt=" ".join((prompt.class_prompt, *words)),
        classes=(*prompt.classes, *ids),
        class_words=(*prompt.class_words, *words),
    )


def learn(model: DiffusionModel, scenes: Scenes, seed: int = 0, **features: bool) -> Reading:
    """A reading learned from scenes with true masks, thresholds and exponent chosen on the same."""
    reading = weigh(_unlearned(model, **features), scenes.maps, scenes.examples, seed)
    label = choose_labels(heatmaps_of(reading, scenes), scenes.examples, CalibrateSettings())
    return reading.model_copy(update={"label": label})


def heatmaps_of(reading: Reading, scenes: Scenes) -> list[Heatmaps]:
    """Heatmaps by a learned reading, from maps that are there."""
    learned = reading.cross_attention
    assert isinstance(learned, LearnedLayers)
    read = (read_layers(maps, learned) for maps in scenes.maps)
    own = (
        replace(one, cross_attention=one.cross_attention[: len(example.classes)])
        for one, example in zip(read, scenes.examples, strict=True)
    )
    return [class_heatmaps(one, STORED_EXPONENTS[:4]) for one in own]


def ious(reading: Reading, scenes: Scenes, **changes: Any) -> dict[int, float]:
    """IoU by class of its labels, no pixel uncertain."""
    label = band_off(reading.label).model_copy(update=changes)
    pairs = (
        (label_map(maps, one.classes, one.target.shape, label, image=one.picture.image), one.target)
        for one, maps in zip(scenes.examples, heatmaps_of(reading, scenes), strict=True)
    )
    return evaluate_labels(pairs, num_classes=len(CLASSES.label_ids)).per_class_iou


def miou(reading: Reading, scenes: Scenes, **changes: Any) -> float:
    """The mean of `ious`."""
    return float(np.mean(list(ious(reading, scenes, **changes).values())))


def band_off(label: LabelSettings) -> LabelSettings:
    """Labels without an uncertain pixel: one threshold in the middle of the two."""
    middle = round((label.threshold + label.uncertainty_threshold) / 2, 3)
    return label.model_copy(update={"threshold": middle, "uncertainty_threshold": middle})


def ablation(model: DiffusionModel, scenes: Scenes, held_out: Scenes) -> list[Row]:
    """What each kind of feature adds, learned from labelled scenes."""
    rows = [
        {"the reading sees": title, "mIoU": miou(learn(model, scenes.part(range(LABELLED)), **features), held_out)}
        for title, features in ABLATION.items()
    ]
    whole = learn(model, scenes.part(range(LABELLED)))
    for exponent in (1, 2):
        title = f"the same, {exponent} products with the self-attention"
        rows.append({"the reading sees": title, "mIoU": miou(whole, held_out, exponent=exponent)})
    rows.append({"the reading sees": "all, borders not refined", "mIoU": miou(whole, held_out, refine="none")})
    return rows


def background_words(model: DiffusionModel, folder: Path, held_out: Path, count: int) -> list[Row]:
    """What further competitors give: words of places, read with the classes, that no pixel is labelled with."""
    rows = []
    for title, words in (
        ("the prompt's classes alone", ()),
        (f"and with {', '.join(BACKGROUND_WORDS)}", BACKGROUND_WORDS),
    ):
        learned = learn(model, look_at(model, folder, LABELLED, words))
        rows.append({"classes compete with": title, "mIoU": miou(learned, look_at(model, held_out, count, words))})
    return rows


def by_number(model: DiffusionModel, scenes: Scenes, held_out: Scenes, seeds: Sequence[int] = (0, 1, 2)) -> list[Row]:
    """What more labelled scenes give; every seed learns from other scenes."""
    rows = []
    for count in (16, LABELLED, len(scenes.examples) // len(seeds)):
        parts = [scenes.part(range(seed * count, (seed + 1) * count)) for seed in seeds]
        scores = [miou(learn(model, part, seed), held_out) for seed, part in zip(seeds, parts, strict=True)]
        spread = f"{min(scores):.3f} to {max(scores):.3f}"
        rows.append({"labelled scenes": count, "mIoU": float(np.mean(scores)), "of the seeds": spread})
    return rows


def classes_left_out(model: DiffusionModel, scenes: Scenes, held_out: Scenes) -> list[Row]:
    """IoU of classes that a reading was never shown, beside one that was shown as many scenes of all classes."""
    without = [number for number, one in enumerate(scenes.examples) if not set(one.classes) & set(LEFT_OUT)]
    rows = []
    for title, numbers in (("without them", without), ("of all classes", range(len(without)))):
        found = ious(learn(model, scenes.part(numbers)), held_out)
        score = float(np.mean([found[one] for one in LEFT_OUT]))
        rows.append({"learned from": f"{len(without)} scenes {title}", "mean IoU of the six classes": score})
    return rows


def given(model: DiffusionModel, readings: Sequence[str], count: int) -> list[Row]:
    """Readings by name or file, each with its own labels, no pixel uncertain."""
    samples = [DatasetStore.open(HELD_OUT)[index] for index in range(count)]
    rows = []
    for name in readings:
        reading = model.spec.resolve_reading(name)
        score = score_labels(samples, read_heatmaps(model, samples, reading), band_off(reading.label))
        rows.append({"reading": name, "mIoU": score["mIoU"]})
    return rows


def _unlearned(model: DiffusionModel, **features: bool) -> Reading:
    learned = unlearned(model.cross_attention_heads(), **features)
    asked = {"cross_attention": learned, "when": "drawn", "timesteps": (NOISE_LEVEL,)}
    return model.spec.resolve_reading("plain").model_copy(update=asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=SCENES, help="dataset of labelled scenes to learn from")
    parser.add_argument("--count", type=int, default=240, help="scenes of it")
    parser.add_argument("--held-out", type=Path, default=HELD_OUT, help="dataset of labelled scenes to score on")
    parser.add_argument("--held-out-count", type=int, default=256, help="scenes of it")
    parser.add_argument("--readings", nargs="*", default=[], help="readings by name or file to score as they are")
    options = parser.parse_args()
    model = load_model("embedded")
    scenes = look_at(model, options.scenes, options.count)
    held_out = look_at(model, options.held_out, options.held_out_count)
    for rows in (
        given(model, options.readings, options.held_out_count),
        by_number(model, scenes, held_out),
        ablation(model, scenes, held_out),
        classes_left_out(model, scenes, held_out),
        background_words(model, options.scenes, options.held_out, options.held_out_count),
    ):
        if rows:
            print(table(rows), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
