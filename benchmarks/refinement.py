"""What does boundary refinement do to labels? Measured on scenes whose truth is known."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.label_quality import SCENES, read_heatmaps, score_labels

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.load import load_model

CUTS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
BANDS = ((0.45, 0.35), (0.5, 0.3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=SCENES, help="dataset of scenes")
    parser.add_argument("--count", type=int, default=64, help="scenes to read")
    parser.add_argument("--model", default="embedded", help="model by name or folder")
    options = parser.parse_args()
    store = DatasetStore.open(options.scenes)
    samples = [store[index] for index in range(min(options.count, len(store)))]
    model = load_model(options.model)
    heatmaps = read_heatmaps(model, samples, model.spec.resolve_reading("plain"))
    bands = [f"{alpha} / {beta}: mIoU (ignored)" for alpha, beta in BANDS]
    print("| exponent | refine", *(f"mIoU at {cut}" for cut in CUTS), *bands, sep=" | ")
    for exponent in (0, 1, 2):
        for refine in ("none", "pamr"):
            cells = [f"| {exponent} | {refine}"]
            for alpha, beta in (*((cut, cut) for cut in CUTS), *BANDS):
                settings = LabelSettings(exponent=exponent, threshold=alpha, uncertainty_threshold=beta, refine=refine)
                row = score_labels(samples, heatmaps, settings)
                cells.append(f"{row['mIoU']:.3f}" + (f" ({row['ignored']:.3f})" if alpha != beta else ""))
            print(*cells, sep=" | ")


if __name__ == "__main__":
    main()
