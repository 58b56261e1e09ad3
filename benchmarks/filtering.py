"""How well does presence tell that a class was not drawn? Judged by a segmenter trained on real scenes (the oracle).

Reads what `make results` leaves: synthetic images and the oracle.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from benchmarks.oracle import is_found

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.labelling.quality import presence
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.predict import predict

BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("build/results/synthetic"), help="images to judge")
    parser.add_argument("--oracle", type=Path, default=Path("build/results/segmenter_real"), help="trained segmenter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scores, missing = judge(DatasetStore.open(options.dataset), options.oracle)
    print(f"{len(missing)} named classes, {missing.sum()} not drawn; area under the ROC curve:")
    for name, values in scores.items():
        print(f"- {name}: {roc_area(values, missing):.3f}")
    print("\n| presence below | classes flagged | precision | recall |\n|---|---|---|---|")
    relative = scores["presence, relative to the class's median"]
    for bound in BOUNDS:
        flagged = relative < bound
        precision = missing[flagged].mean() if flagged.any() else float("nan")
        print(f"| {bound} | {flagged.mean():.3f} | {precision:.3f} | {flagged[missing].mean():.3f} |")


def judge(store: DatasetStore, oracle: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """For every class that a prompt names: its scores, lower where it was drawn less, and whether it is not there."""
    seen = predict(load_segmenter(oracle).model, (store.image_and_label(index)[0] for index in range(len(store))))
    scores, classes, missing = defaultdict(list), [], []
    for sample, prediction in zip(store, seen, strict=True):
        if sample.heatmaps is None:
            raise SystemExit("the images have no heatmaps")
        for position, class_id in enumerate(sample.prompt.classes):
            scores["raw maximum before any product"].append(sample.heatmaps.ranges[0, position, 1])
            scores["presence"].append(presence(sample.heatmaps)[position])
            scores["area of the label"].append((sample.label == class_id).mean())
            classes.append(class_id)
            missing.append(not is_found(prediction, class_id))
    arrays = {name: np.array(values, np.float64) for name, values in scores.items()}
    arrays["presence, relative to the class's median"] = _relative(arrays["presence"], np.array(classes))
    return arrays, np.array(missing)


def roc_area(scores: np.ndarray, missing: np.ndarray) -> float:
    """The share of (missing, drawn) pairs in which the missing class scores lower; ties count half."""
    low, high = scores[missing][:, None], scores[~missing][None]
    return float((low < high).mean() + (low == high).mean() / 2)


def _relative(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    usual = {class_id: np.median(scores[classes == class_id]) for class_id in np.unique(classes)}
    return scores / np.array([usual[class_id] for class_id in classes])


if __name__ == "__main__":
    main()
