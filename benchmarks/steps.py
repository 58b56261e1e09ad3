"""Quality against cost: fewer steps, other schedulers, attention read in some steps only. Writes docs/steps.md.

Every row draws the same prompts from the same seeds with the embedded model, on as many threads as torch takes. The oracle is a
segmenter trained on real scenes, as benchmarks/results.py makes it. The same command again resumes; finished rows are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.oracle import CLASSES, FOUND_SHARE, agreement, found_classes
from benchmarks.pages import render, table

from dataset_diffusion.config import CaptureSettings, LabelSettings
from dataset_diffusion.diffusion.load import SCHEDULERS, load_model, make_scheduler
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.labelling.sample import label_generation
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.records import Prompt, Sample
from dataset_diffusion.seeding import sample_seed
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.predict import predict

ROOT = Path(__file__).parent.parent

Row = dict[str, Any]

LABEL = LabelSettings(exponent=1, threshold=0.4, uncertainty_threshold=0.25, refine="pamr")
"""What fits the plain reading of the embedded model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--images", type=int, default=128, help="images per row")
    parser.add_argument("--batch-size", type=int, default=16, help="images drawn at once")
    parser.add_argument("--model", default="embedded", help="model by name or folder")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; by default the best there is")
    parser.add_argument("--oracle", type=Path, default=Path("build/results/segmenter_real"), help="the oracle's folder")
    parser.add_argument("--work", type=Path, default=Path("build/steps"), help="where finished rows are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "steps.md", help="page to write")
    parser.add_argument("--tables", nargs="*", default=None, help="only these: steps, schedulers, every, part")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model = load_model(options.model, options.device)
    oracle = load_segmenter(options.oracle, options.device).model
    prompts = build_prompts(None, CLASSES, options.images, seed=0)
    tables: dict[str, list[Row]] = {}
    for name, variants in variants_of(model.spec.num_inference_steps).items():
        if options.tables is None or name in options.tables:
            tables[name] = [kept(options, model, oracle, prompts, variant) for variant in variants]
    options.out.write_text(page(tables, options, model))


def variants_of(steps: int) -> dict[str, list[Row]]:
    """What is varied, one choice at a time; the rest is as the spec has it."""
    return {
        "steps": [{"steps": count} for count in (100, 50, 25, 20, 18, 16, 12, 8, 4)],
        "schedulers": [{"scheduler": name, "steps": count} for count in (20, 8) for name in SCHEDULERS],
        "every": [{"steps": steps, "every": every} for every in (1, 2, 4, steps)],
        "part": [{"steps": steps, "part": part} for part in ("all", "first-half", "last-half")],
    }


def kept(
    options: argparse.Namespace, model: DiffusionModel, oracle: Segmenter, prompts: Sequence[Prompt], variant: Row
) -> Row:
    """The row of a variant, measured once."""
    name = "-".join(str(value) for value in variant.values())
    file = options.work / f"{options.images}-{name}.json"
    if not file.exists():
        row = {**variant, **measure(model, oracle, prompts, variant, options.batch_size)}
        file.write_text(json.dumps(row) + "\n")
    found: Row = json.loads(file.read_text())
    return found


def measure(model: DiffusionModel, oracle: Segmenter, prompts: Sequence[Prompt], variant: Row, batch: int) -> Row:
    """Draw, label, and compare with what the oracle sees."""
    own = model.pipeline.scheduler
    model.pipeline.scheduler = make_scheduler(variant.get("scheduler", model.spec.scheduler), own.config)
    capture = CaptureSettings(steps=variant.get("part", "all"), every=variant.get("every", 1))
    try:
        samples, seconds = draw(model, prompts, capture, variant["steps"], batch)
    finally:
        model.pipeline.scheduler = own
    seen = list(predict(oracle, (sample.image for sample in samples)))
    return {
        "label mIoU": agreement([sample.label for sample in samples], seen),
        "found by the oracle": float(np.mean([is_there for _, is_there in found_classes(samples, seen)])),
        "uncertain": float(np.mean([(sample.label == 255).mean() for sample in samples])),
        "images/hour": round(3600 * len(samples) / seconds),
    }


def draw(
    model: DiffusionModel, prompts: Sequence[Prompt], capture: CaptureSettings, steps: int, batch: int
) -> tuple[list[Sample], float]:
    """Labelled samples, and the seconds that drawing and labelling them took after a first, unmeasured step."""
    seeds = [sample_seed(0, prompt.index) for prompt in prompts]
    reading = model.spec.resolve_reading("plain", capture)  # what is read while drawing depends on the steps
    model.generate(prompts[:batch], seeds[:batch], reading, steps=1)
    started = time.perf_counter()
    samples = []
    for start in range(0, len(prompts), batch):
        some, their_seeds = prompts[start : start + batch], seeds[start : start + batch]
        drawn = model.generate(some, their_seeds, reading, steps=steps)
        samples += [
            label_generation(prompt, seed, generation, LABEL)
            for prompt, seed, generation in zip(some, their_seeds, drawn, strict=True)
        ]
    return samples, time.perf_counter() - started


def page(tables: dict[str, list[Row]], options: argparse.Namespace, model: DiffusionModel) -> str:
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine()
    return render(
        "steps.md.j2",
        tables={name: table(rows) for name, rows in tables.items()},
        images=options.images,
        batch_size=options.batch_size,
        device=f"{device}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}",
        label=LABEL,
        spec=model.spec,
        found_share=FOUND_SHARE,
    )


if __name__ == "__main__":
    main()
