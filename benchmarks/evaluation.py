"""How fast are the evaluators? Label maps a second on one core, on real PASCAL VOC label maps and ECSSD masks."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from dataset_diffusion.dataset.schema import encode_label
from dataset_diffusion.evaluation.benchmark import Benchmark
from dataset_diffusion.evaluation.scorers.dichotomous import DichotomousScorer
from dataset_diffusion.evaluation.scorers.discovery import DiscoveryScorer
from dataset_diffusion.evaluation.scorers.face_parsing import FaceParsingScorer
from dataset_diffusion.evaluation.scorers.semantic import Scorer, evaluate_labels
from dataset_diffusion.evaluation.scoring import read_predictions, score
from dataset_diffusion.evaluation.table import open_benchmark

DATA = Path(__file__).parents[2] / "shared" / "data"
SHIFT = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--voc", type=Path, default=DATA / "VOCdevkit" / "VOC2012", help="folder of PASCAL VOC 2012")
    parser.add_argument("--masks", type=Path, default=DATA / "ECSSD", help="folder of ECSSD, or of a split of DIS5K")
    parser.add_argument("--count", type=int, default=200, help="label maps of VOC; a tenth of it of masks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    voc = open_benchmark("voc2012", options.voc)
    masks = open_benchmark("dis5k", options.masks)
    pairs = list(pairs_of(voc, options.count))
    pixels = np.mean([truth.size for _, truth in pairs])
    print(f"{len(pairs)} label maps of {pixels:,.0f} pixels on average (500 x 375 is 187,500), one thread")
    print("| what | label maps/s |\n|---|---|")
    classes = voc.class_set
    rows: dict[str, Callable[[], object]] = {
        "mIoU of label maps in memory (`evaluate_labels`)": lambda: evaluate_labels(pairs, 21),
        "face parsing": lambda: add_all(FaceParsingScorer(classes), pairs),
        "discovery": lambda: add_all(DiscoveryScorer(classes), pairs),
    }
    for name, measure in rows.items():
        print(f"| {name} | {len(pairs) / seconds(measure):.0f} |")
    with tempfile.TemporaryDirectory() as folder:
        for image_id, (prediction, _) in zip(voc.ids, pairs_of(voc, len(voc)), strict=True):
            (Path(folder) / f"{image_id}.png").write_bytes(encode_label(prediction, classes))
        rate = len(voc) / seconds(lambda: score(read_predictions(Path(folder), voc), voc))
    print(f"| mIoU, both read from PNG (`evaluate --predictions`) | {rate:.0f} |")
    soft = [(truth * np.uint8(255), truth) for _, truth in pairs_of(masks, options.count // 10)]
    print(f"| dichotomous, all measures | {len(soft) / seconds(lambda: add_all(DichotomousScorer(), soft)):.1f} |")


def pairs_of(benchmark: Benchmark, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Label maps as truth, and shifted as prediction."""
    for number in range(min(count, len(benchmark))):
        truth = benchmark.read_label(number)
        yield np.roll(np.where(truth == 255, np.uint8(0), truth), SHIFT, axis=1), truth


def add_all(scorer: Scorer, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for prediction, truth in pairs:
        scorer.add(prediction, truth, "image")
    scorer.scores()


def seconds(measure: Callable[[], object]) -> float:
    """Processor time, since other work on the machine is not what is measured."""
    started = time.process_time()
    measure()
    return time.process_time() - started


if __name__ == "__main__":
    main()
