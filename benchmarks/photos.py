"""Published against ours on real photos, with ImageNet weights: augmentation, self-training, test-time augmentation.

    python -m benchmarks.photos VOCdevkit/VOC2012 --out photos.json

Photos are shrunk so that 500 pixels become `--side`. The training photos' true masks are made as coarse as attention
is: each class's share of 16 cells along the longer side, labelled by the published thresholds. Everything is kept in
the working folder, and the same command again goes on.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from dataset_diffusion.config import LabelSettings, SelfTraining, TrainSettings
from dataset_diffusion.disk.atomic import write_json
from dataset_diffusion.evaluation.benchmark import Benchmark
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.labelling.assign import assign_labels
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.predict import PUBLISHED_SCALES, WHOLE_IMAGE, Views, predict
from dataset_diffusion.segmentation.targets import segmenter_targets
from dataset_diffusion.segmentation.task import TrainingTask
from dataset_diffusion.segmentation.train import train_segmenter

Pairs = list[tuple[Tensor, Tensor]]

VOC_SIDE = 500
"""Pixels of the longer side of a VOC photo."""
CELLS = 16
"""Cells of the published cross-attention along an image's side."""
LIGHT, PUBLISHED = "light augmentation", "published augmentation"
CONTINUED, ANEW = "self-training, ours", "self-training, published"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder VOC2012")
    parser.add_argument("--work", type=Path, default=Path("runs/photos"), help="where models are kept")
    parser.add_argument("--out", type=Path, default=Path("photos.json"), help="file of the results")
    parser.add_argument("--side", type=int, default=96, help="pixels of a shrunk photo's longer side, and of the crops")
    parser.add_argument("--iterations", type=int, default=200, help="steps of 8 crops")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    voc = {split: open_benchmark("voc2012", options.root, split) for split in ("train", "val")}
    photos, tested = shrink(voc["train"], options.side), shrink(voc["val"], options.side)
    asked = {"side": options.side, "iterations": options.iterations, "photos": len(photos), "tested": len(tested)}
    rows = _read_rows(options.out, asked)
    blank = [torch.zeros_like(label) for _, label in tested]
    rows |= {"all background": {"0": miou(blank, tested)}}
    for seed in options.seeds:
        for name, measured in measure(photos, tested, voc["train"], options, seed):
            if str(seed) not in rows.setdefault(name, {}):
                rows[name][str(seed)] = measured()
                write_json(options.out, {**asked, "mIoU": rows})
    for name, scores in rows.items():
        mean = np.mean(list(scores.values()))
        print(f"{name:40} {mean:.3f}   {', '.join(f'{score:.3f}' for score in scores.values())}")


def measure(photos: Pairs, tested: Pairs, benchmark: Benchmark, options: Any, seed: int) -> Any:
    """What is measured with a seed: its name, and what gives the mIoU."""
    coarse = [(image, coarsen(label)) for image, label in photos]
    folder = options.work / str(seed)
    light = TrainSettings(
        segmenter="unet-efficientnet-lite0",
        pretrained=True,
        iterations=options.iterations,
        batch_size=8,
        crop_size=options.side,
        encoder_learning_rate_factor=0.1,
        precision="fp32",
    )

    def train(name: str, data: Pairs, settings: TrainSettings, start: Path | None = None) -> Path:
        task = TrainingTask(data, benchmark.class_set, settings, seed, start=start, data_id=name, device="cpu")
        return train_segmenter(task, folder / name.replace(", ", " ").replace(" ", "-"))

    def test(model: Path, views: Views = WHOLE_IMAGE) -> float:
        segmenter = load_segmenter(model, "cpu").model
        found = predict(segmenter, (image.permute(1, 2, 0).numpy() for image, _ in tested), views)
        return miou(map(torch.from_numpy, found), tested)

    def train_again(name: str, method: SelfTraining, start: Path | None) -> float:
        teacher = load_segmenter(train(LIGHT, coarse, light), "cpu").model
        said = segmenter_targets(teacher, coarse, light.model_copy(update={"self_training_method": method}))
        data = [(image, label) for (image, _), label in zip(coarse, said, strict=True)]
        return test(train(name, data, light, start))

    teacher, fixed = folder / LIGHT.replace(" ", "-"), round(512 / VOC_SIDE * options.side)
    published = light.model_copy(update={"augmentation": "published"})
    yield LIGHT, lambda: test(train(LIGHT, coarse, light))
    yield PUBLISHED, lambda: test(train(PUBLISHED, coarse, published))
    yield CONTINUED, partial(train_again, CONTINUED, "continued", teacher)
    yield ANEW, partial(train_again, ANEW, "published", None)
    yield f"{LIGHT}, short side 512", partial(test, teacher, Views(short_side=fixed))
    yield f"{LIGHT}, TTA of the original size", partial(test, teacher, Views(PUBLISHED_SCALES, flip=True))
    yield f"{LIGHT}, TTA of short side 512", partial(test, teacher, Views(PUBLISHED_SCALES, True, fixed))


def shrink(benchmark: Benchmark, side: int) -> Pairs:
    """Every photo, uint8 "3 h w", and its label map, "h w", shrunk alike."""
    pairs = []
    for index in range(len(benchmark)):
        one = benchmark[index]
        size = tuple(max(1, round(length * side / VOC_SIDE)) for length in one.image.shape[1::-1])
        image = cv2.resize(one.image, size, interpolation=cv2.INTER_AREA)
        label = cv2.resize(one.label, size, interpolation=cv2.INTER_NEAREST)
        pairs.append((torch.from_numpy(image).permute(2, 0, 1).contiguous(), torch.from_numpy(label)))
    # Neighbours of one size are predicted together.
    return sorted(pairs, key=lambda pair: tuple(pair[1].shape))


def coarsen(label: Tensor) -> Tensor:
    """The label map of the classes' shares of coarse cells, as if they were attention."""
    ids = [int(number) for number in label.unique() if number not in (0, 255)]
    if not ids:
        return label
    height, width = label.shape
    scale = CELLS / max(height, width)
    cells = (round(width * scale), round(height * scale))
    shares = [
        cv2.resize((label == number).numpy().astype(np.float32), cells, interpolation=cv2.INTER_AREA) for number in ids
    ]
    heatmaps = np.stack([share / max(float(share.max()), 1e-6) for share in shares])
    settings = LabelSettings()
    return assign_labels(heatmaps, ids, (height, width), settings.threshold, settings.uncertainty_threshold)


def miou(found: Any, tested: Pairs) -> float:
    """MIoU over 21 classes."""
    pairs = ((label.numpy(), truth.numpy()) for label, (_, truth) in zip(found, tested, strict=True))
    return round(evaluate_labels(pairs, num_classes=21).miou, 4)


def _read_rows(out: Path, asked: dict[str, int]) -> dict[str, dict[str, float]]:
    found = json.loads(out.read_text()) if out.exists() else {}
    rows: dict[str, dict[str, float]] = found.pop("mIoU", {})
    return rows if found == asked else {}


if __name__ == "__main__":
    main()
