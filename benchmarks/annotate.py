"""What `annotate` makes of scenes whose truth is known: its labels beside `attend`'s, and which classes it finds.

The scenes are written as PNG photos. First their captions say what they show; then nothing does, all classes are
offered, and precision and recall are counted over (scene, class) at several thresholds. Choose a threshold by other
scenes than those that are reported.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.label_quality import BATCH
from PIL import Image

from dataset_diffusion.config import AnnotateSettings, LabelOptions
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.load import load_model
from dataset_diffusion.evaluation.readers.scenes import SCENES
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.labelling.quality import stand_out
from dataset_diffusion.prompts.captions import remove_class_prompt
from dataset_diffusion.records import Sample
from dataset_diffusion.seeding import sample_seed
from dataset_diffusion.stages.annotate import PRESENCE, annotate

THRESHOLDS = (1.5, 2.0, 2.5, 2.9, 3.5, 4.0, 5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=SCENES, help="dataset of scenes")
    parser.add_argument("--count", type=int, default=128, help="scenes to read")
    parser.add_argument("--model", default="embedded", help="model by name or folder")
    parser.add_argument("--reading", help="reading by name or file")
    parser.add_argument(
        "--threshold", type=float, default=0.4, help="threshold of the labels, where the reading is plain"
    )
    options = parser.parse_args()
    store = DatasetStore.open(options.scenes)
    samples = [store[index] for index in range(min(options.count, len(store)))]
    settings = {"classes": store.class_set.names, "model": options.model, "reading": options.reading}
    learned = options.reading not in (None, "plain", "published")
    cut = options.threshold
    label = (
        LabelOptions() if learned else LabelOptions(exponent=1, threshold=cut, uncertainty_threshold=cut, refine="pamr")
    )
    with tempfile.TemporaryDirectory() as place:
        photos, captions = write_photos(samples, Path(place))
        captioned = annotate(
            photos, AnnotateSettings(captions=captions, **settings), Path(place) / "captioned", label=label, seed=0
        )
        print(f"mIoU of annotate, captions given: {score(list(captioned), samples, store):.4f}")
        print(f"mIoU of attend: {score_attend(samples, store, label, options.model, options.reading):.4f}")
        out = Path(place) / "presence"
        found = annotate(photos, AnnotateSettings(classes_from="presence", **settings), out, label=label, seed=0)
        rows = [json.loads(line) for line in (out / PRESENCE).read_text().splitlines()]
    print(f"{len(found)} of {len(samples)} scenes show a class, as the model sees it")
    above = stand_out(np.array([list(map(float, row["caption"].split())) for row in rows]))
    there = np.array([[(sample.label == one).any() for one in store.class_set.ids] for sample in samples])
    print("| threshold | precision | recall |", "|---|---|---|", sep="\n")
    for threshold in THRESHOLDS:
        taken = above >= threshold
        right = (taken & there).sum()
        print(f"| {threshold} | {right / max(taken.sum(), 1):.3f} | {right / there.sum():.3f} |")


def write_photos(samples: Sequence[Sample], place: Path) -> tuple[Path, Path]:
    """A folder of scenes as photos, and a table of their captions."""
    photos, captions = place / "photos", place / "captions.csv"
    photos.mkdir()
    with captions.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file_name", "caption"))
        for number, sample in enumerate(samples):
            name = f"{number:05}.png"
            Image.fromarray(sample.image).save(photos / name)
            table.writerow((name, remove_class_prompt(sample.prompt.text, sample.prompt.class_prompt)))
    return photos, captions


def score(found: Sequence[Sample], samples: Sequence[Sample], store: DatasetStore) -> float:
    """MIoU of label maps with the truth, uncertain pixels counted as background."""
    pairs = [
        (np.where(one.label == store.class_set.ignore_index, 0, one.label), sample.label)
        for one, sample in zip(found, samples, strict=True)
    ]
    return evaluate_labels(pairs, num_classes=len(store.class_set.label_ids)).miou


def score_attend(
    samples: Sequence[Sample], store: DatasetStore, label: LabelOptions, name: str, asked: str | None
) -> float:
    """The same of what the model's attention says, read without `annotate`."""
    model = load_model(name)
    reading = model.spec.resolve_reading(asked)
    settings, found = label.resolve(reading.label), []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        seeds = [sample_seed(0, index) for index in range(start, start + len(batch))]
        maps = model.attend([one.image for one in batch], [one.prompt for one in batch], seeds, reading)
        for one, attention in zip(batch, maps, strict=True):
            heatmaps = class_heatmaps(attention)
            labels = label_map(heatmaps, one.prompt.classes, one.image.shape[:2], settings, image=one.image)
            found.append(replace(one, label=labels))
    return score(found, samples, store)


if __name__ == "__main__":
    main()
