"""Measure everything in docs/results.md and write the page. The same command again resumes; finished parts are kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import readings
from benchmarks.ablations import measure_ablations
from benchmarks.label_quality import SCENES, label_ablation, read_heatmaps
from benchmarks.oracle import CLASSES, FOUND_SHARE, agreement, found_classes
from benchmarks.pages import render
from PIL import Image

from dataset_diffusion.calibration.thresholds import choose_labels
from dataset_diffusion.config import (
    CalibrateSettings,
    EvaluateSettings,
    GenerateSettings,
    PromptSettings,
    TrainSettings,
)
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.load import load_model
from dataset_diffusion.recipe import load_recipe
from dataset_diffusion.records import Sample
from dataset_diffusion.report.figures import colored_heatmap, colored_label
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.predict import predict
from dataset_diffusion.segmentation.rounds import ROUNDS
from dataset_diffusion.stages.calibrate import dataset_examples
from dataset_diffusion.stages.evaluate import evaluate
from dataset_diffusion.stages.filter import filter_samples
from dataset_diffusion.stages.generate import generate_dataset
from dataset_diffusion.stages.prompts import make_prompts
from dataset_diffusion.stages.train import train as train_stage

DEMO = load_recipe(Path("demo"))

ROOT = Path(__file__).parent.parent
HELD_OUT = ROOT / "src" / "dataset_diffusion" / "assets" / "scenes"
ORACLE_IMAGES = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--work", type=Path, default=SCENES.parent, help="where runs are kept")
    parser.add_argument("--num-images", type=int, default=1000, help="synthetic images, and real scenes")
    parser.add_argument(
        "--iterations", type=int, default=TrainSettings().iterations, help="training steps of each segmenter"
    )
    parser.add_argument("--repeats", type=int, default=3, help="trainings of every ablation row, with other seeds")
    options = parser.parse_args()
    work, count = options.work, options.num_images
    options.work.mkdir(parents=True, exist_ok=True)
    real = work / SCENES.name
    make_scenes = [sys.executable, str(ROOT / "tools" / "embedded_model" / "make_scenes.py")]
    subprocess.run([*make_scenes, "--out", str(real), "--num-scenes", str(max(count, 128)), "--seed", "3"], check=True)
    train = TrainSettings(iterations=options.iterations)
    runs = {"num_images": count, "iterations": options.iterations}
    parts: dict[str, tuple[dict[str, int], Callable[[], dict[str, Any]]]] = {
        "labels": ({}, lambda: measure_labels(real)),
        "headline": (runs, lambda: measure_headline(work, real, count, train)),
        "oracle": (runs, lambda: measure_oracle(work)),
        "demo": ({}, lambda: measure_demo(work / "demo")),
        "ablations": (
            runs | {"repeats": options.repeats},
            lambda: measure_ablations(work, count, train, options.repeats),
        ),
    }
    measured = {name: kept(work / f"{name}.json", used, measure) for name, (used, measure) in parts.items()}
    (ROOT / "docs" / "results.json").write_text(json.dumps(measured, indent=2) + "\n")
    (ROOT / "docs" / "results.md").write_text(_page(measured, count, train, options.repeats))


def measure_labels(real: Path) -> dict[str, Any]:
    """Label quality of attention on the held-out scenes; exponents and thresholds chosen on other scenes."""
    model = load_model("embedded")
    settings = CalibrateSettings(num_images=96, uncertain=0)
    examples = dataset_examples(DatasetStore.open(real), settings)
    plain = read_heatmaps(
        model, [DatasetStore.open(real)[one] for one in range(96)], model.spec.resolve_reading("plain")
    )
    best = choose_labels(plain, examples, settings)
    scenes, held_out = readings.look_at(model, real, 240), readings.look_at(model, HELD_OUT, 256)
    return {
        "chosen": best.model_dump(),
        **label_ablation(model, HELD_OUT, best),
        "readings": readings.given(model, ("published", "plain", model.spec.reading), 256),
        "by_number": readings.by_number(model, scenes, held_out),
        "features": readings.ablation(model, scenes, held_out),
        "left_out": readings.classes_left_out(model, scenes, held_out),
    }


def measure_headline(work: Path, real: Path, count: int, train: TrainSettings) -> dict[str, Any]:
    """The same segmenter trained on synthetic images with pseudo-labels, all or filtered, and on real scenes."""
    make_prompts(PromptSettings(num_images=count), work / "prompts.jsonl", seed=0)
    generate_dataset(work / "prompts.jsonl", GenerateSettings(), work / "synthetic", label=DEMO.label, seed=0)
    kept = filter_samples(work / "synthetic", DEMO.filter, work / "filtered")
    one_round = train.model_copy(update={"self_training": 1})
    models = {"real": train_stage([real], train, work / "segmenter_real", seed=0).path}
    for name in ("synthetic", "filtered"):
        trained = train_stage([work / name], one_round, work / f"segmenter_{name}", seed=0).path
        models |= {f"{name}_self_trained": trained, name: trained / ROUNDS / "0"}
    views = {"": EvaluateSettings(), "_tta": EvaluateSettings(tta=True, scales=(1.0, 1.25))}
    results: dict[str, Any] = {"kept": len(kept)}
    for name, model in models.items():
        for suffix, settings in views.items():
            scores = evaluate(model, settings, work / f"scores_{name}{suffix}.json")
            results[name + suffix] = {key: scores[key] for key in ("miou", "per_class_iou", "pixel_accuracy")}
    return results


def measure_oracle(work: Path) -> dict[str, Any]:
    """What a segmenter trained on real scenes sees in synthetic images."""
    store = DatasetStore.open(work / "synthetic")
    samples = [store[index] for index in range(min(ORACLE_IMAGES, len(store)))]
    oracle = load_segmenter(work / "segmenter_real").model
    seen = list(predict(oracle, (sample.image for sample in samples)))
    by_class: dict[str, list[bool]] = {name: [] for name in CLASSES.names}
    for class_id, is_there in found_classes(samples, seen):
        by_class[CLASSES.name_of(class_id)].append(is_there)
    named = [is_there for hits in by_class.values() for is_there in hits]
    write_pictures(samples)
    return {
        "images": len(samples),
        "named": len(named),
        "found": float(np.mean(named)),
        "found_by_class": {name: float(np.mean(hits)) for name, hits in by_class.items() if hits},
        "label_agreement_miou": agreement([sample.label for sample in samples], seen),
        "uncertain": float(np.mean([sample.quality["uncertain"] for sample in samples])),
    }


def write_pictures(samples: list[Sample]) -> None:
    """The first 64 images as they came, and for the README, image, heatmaps, label map of the first with two classes."""
    folder = ROOT / "docs" / "images"
    folder.mkdir(exist_ok=True)
    Image.fromarray(contact_sheet([sample.image for sample in samples[:64]], columns=8)).save(folder / "generated.png")
    cells = []
    for sample in [sample for sample in samples if len(sample.prompt.classes) == 2][:6]:
        if sample.heatmaps is None:
            continue
        heatmaps = sample.heatmaps.values[0]
        shown = [colored_heatmap(heatmap, sample.label.shape) for heatmap in heatmaps]
        cells += [sample.image, *shown, colored_label(sample.label, CLASSES)]
    Image.fromarray(contact_sheet(cells, columns=8)).save(folder / "samples.png")


def contact_sheet(images: Sequence[np.ndarray], columns: int, gap: int = 4) -> np.ndarray:
    """RGB images of one size in rows on a white sheet, ``gap`` pixels apart."""
    height, width, _ = images[0].shape
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def measure_demo(out: Path) -> dict[str, Any]:
    """Wall time, peak memory and score of `dataset-diffusion demo`, as a user runs it."""
    shutil.rmtree(out, ignore_errors=True)  # a finished run would take no time
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "dataset_diffusion", "demo", "--out", str(out)], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    results = json.loads((out / "results.json").read_text())
    seconds = round(time.monotonic() - started)
    return {"cpus": os.cpu_count(), "seconds": seconds, "peak_gib": round(peak, 2), "miou": results["miou"]}


def kept(file: Path, options: dict[str, int], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures in a file, measured first where there are none, or those of other options."""
    found = json.loads(file.read_text()) if file.exists() else {}
    if found.get("options") != options:
        found = {"options": options, "figures": measure()}
        file.write_text(json.dumps(found, indent=2) + "\n")
    figures: dict[str, Any] = found["figures"]
    return figures


def _page(measured: dict[str, Any], count: int, train: TrainSettings, repeats: int) -> str:
    labels, headline, oracle, demo = (measured[name] for name in ("labels", "headline", "oracle", "demo"))
    chosen, real = labels["chosen"], headline["real"]
    kept = f"the {headline['kept']} of them that pass `{DEMO.filter.rules[0]}`"
    columns = {"synthetic": "synthetic", "filtered, self-trained": "filtered_self_trained", "real": "real"}
    per_class = [
        {"class": name}
        | {title: headline[kind]["per_class_iou"].get(name, 0.0) for title, kind in columns.items()}
        | {"found by the oracle": oracle["found_by_class"].get(name, "")}
        for name in real["per_class_iou"]
    ]
    headline_rows = [
        {
            "trained on": trained_on,
            "mIoU": headline[kind]["miou"],
            "ratio": headline[kind]["miou"] / real["miou"],
            "pixel accuracy": headline[kind]["pixel_accuracy"],
            "mIoU, averaged over views": headline[f"{kind}_tta"]["miou"],
            "ratio, averaged over views": headline[f"{kind}_tta"]["miou"] / headline["real_tta"]["miou"],
        }
        for kind, trained_on in (
            ("synthetic", f"{count} synthetic images, labels from attention"),
            ("synthetic_self_trained", "the same, then on with the labels of that segmenter (self-training)"),
            ("filtered", kept),
            ("filtered_self_trained", "the same, self-training"),
            ("real", f"{count} real scenes, true masks"),
        )
    ]
    return render(
        "results.md.j2",
        machine=platform.machine(),
        count=count,
        train=train,
        found_share=FOUND_SHARE,
        per_class=per_class,
        labels=labels,
        chosen=chosen,
        headline_rows=headline_rows,
        oracle=oracle,
        demo=demo,
        ablations=measured["ablations"],
        rule=DEMO.filter.rules[0],
        repeats=repeats,
    )


if __name__ == "__main__":
    main()
