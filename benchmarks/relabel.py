"""How many images a second does one core relabel? On a dataset of 512x512 images with two classes each."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tests.helpers.factories import fill

from dataset_diffusion.config import STORED_EXPONENTS, LabelSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.records import Heatmaps, Prompt, Sample
from dataset_diffusion.stages.relabel import relabel_shard

SIZE, GRID = 512, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="images")
    parser.add_argument("--image-format", choices=("png", "jpeg"), default="png", help="how images are stored")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| refine | images per second of processor time | MB per second |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        manifest = DatasetManifest(
            class_set=class_set("emoji"), num_samples=options.count, image_format=options.image_format
        )
        source = fill(DatasetWriter.create(Path(folder, "source"), manifest), make_sample)
        for refine in ("none", "pamr"):
            target = DatasetWriter.create(Path(folder, refine), manifest)
            rate, megabytes = measure(source, target, LabelSettings(refine=refine))
            print(f"| {refine} | {rate:.1f} | {megabytes:.1f} |")


def measure(source: DatasetStore, target: DatasetWriter, settings: LabelSettings) -> tuple[float, float]:
    """Images and megabytes per second of processor time, which other work on the machine does not slow down."""
    started = time.process_time()
    count = sum(relabel_shard(source, target, settings, shard) for shard in range(source.manifest.num_shards))
    seconds = time.process_time() - started
    size = sum(target.shard_path(shard).stat().st_size for shard in range(target.manifest.num_shards))
    return count / seconds, size / 2**20 / seconds


def make_sample(index: int) -> Sample:
    """Smooth colours with some noise, as photos have, and blobs for heatmaps."""
    random = np.random.default_rng(index)
    coarse = Image.fromarray(random.integers(0, 256, (GRID, GRID, 3), dtype=np.uint8)).resize((SIZE, SIZE))
    image = np.clip(np.asarray(coarse, np.int16) + random.integers(-6, 7, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    heatmaps = make_heatmaps(random)
    prompt = Prompt(index, "a cat and a dog; cat dog", "cat dog", (5, 6))
    label = label_map(heatmaps, prompt.classes, (SIZE, SIZE), LabelSettings())
    return Sample(index, prompt, image, label, heatmaps, quality_scores(label, prompt.classes, heatmaps))


def make_heatmaps(random: np.random.Generator) -> Heatmaps:
    y, x = np.mgrid[:GRID, :GRID] / GRID
    centres = random.uniform(0.2, 0.8, (2, 2, 1, 1))
    blobs = np.exp(-((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2) / 0.05)
    values = np.clip(blobs + random.normal(0, 0.05, blobs.shape), 0, 1).astype(np.float16)
    num = len(STORED_EXPONENTS)
    return Heatmaps(STORED_EXPONENTS, np.stack([values] * num), np.full((num, 2, 2), (0.01, 0.4), np.float32))


if __name__ == "__main__":
    main()
