"""What does boundary refinement do to labels? Measured on scenes whose truth is known."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from benchmarks.label_quality import SCENES, read_heatmaps, score_labels
from torch.nn import functional

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.load import load_model
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.records import Heatmaps

CUTS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
BANDS = ((0.45, 0.35), (0.5, 0.3))


def refine_coverage(voc: Path, count: int) -> Iterator[str]:
    """Photos at their own size: labels from how much of each of 16 x 16 cells a class truly covers, refined."""
    photos = [photo for photo in islice(open_benchmark("voc2012", voc, "train"), count) if photo.label is not None]
    yield "| refine | mIoU | photos a second |"
    for refine in ("none", "pamr", "fast"):
        seconds, pairs = 0.0, []
        for photo in photos:
            heatmaps, classes = coverage(photo.label)
            label = LabelSettings(exponent=0, threshold=0.4, uncertainty_threshold=0.4, refine=refine)
            started = time.process_time()
            pairs.append((label_map(heatmaps, classes, photo.label.shape, label, image=photo.image), photo.label))
            seconds += time.process_time() - started
        yield f"| {refine} | {evaluate_labels(pairs, num_classes=21).miou:.3f} | {len(photos) / seconds:.1f} |"


def coverage(label: np.ndarray) -> tuple[Heatmaps, list[int]]:
    """The share of every cell that each class of a label map covers, as heatmaps, and the classes."""
    classes = [int(one) for one in np.unique(label) if 0 < one < 255]
    masks = torch.stack([torch.from_numpy((label == one).astype(np.float32)) for one in classes])
    cells = functional.adaptive_avg_pool2d(masks, 16).numpy()
    return Heatmaps((0,), cells[None].astype(np.float16), np.ones((1, len(classes), 2), np.float32)), classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=SCENES, help="dataset of scenes")
    parser.add_argument("--count", type=int, default=64, help="scenes to read")
    parser.add_argument("--model", default="embedded", help="model by name or folder")
    parser.add_argument("--voc", type=Path, default=None, help="folder VOC2012: refine on its photos instead")
    options = parser.parse_args()
    if options.voc is not None:
        torch.set_num_threads(1)
        print(*refine_coverage(options.voc, options.count), sep="\n")
        return
    store = DatasetStore.open(options.scenes)
    samples = [store[index] for index in range(min(options.count, len(store)))]
    model = load_model(options.model)
    heatmaps = read_heatmaps(model, samples, model.spec.resolve_reading("plain"))
    bands = [f"{alpha} / {beta}: mIoU (ignored)" for alpha, beta in BANDS]
    print("| exponent | refine", *(f"mIoU at {cut}" for cut in CUTS), *bands, sep=" | ")
    for exponent in (0, 1, 2):
        for refine in ("none", "pamr", "fast"):
            cells = [f"| {exponent} | {refine}"]
            for alpha, beta in (*((cut, cut) for cut in CUTS), *BANDS):
                settings = LabelSettings(exponent=exponent, threshold=alpha, uncertainty_threshold=beta, refine=refine)
                row = score_labels(samples, heatmaps, settings)
                cells.append(f"{row['mIoU']:.3f}" + (f" ({row['ignored']:.3f})" if alpha != beta else ""))
            print(*cells, sep=" | ")


if __name__ == "__main__":
    main()
