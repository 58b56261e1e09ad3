"""Measure how fast one core writes and reads datasets, and how large they are."""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tests.helpers.factories import fill

from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.records import Heatmaps, Sample

EXPONENTS = (0, 1, 2, 4, 8)
SENSOR_NOISE = 3.0
"""Standard deviation added to the scenes, which are smoother than photos and would compress too well."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512], help="image side, pixels")
    parser.add_argument("--formats", nargs="+", default=["png", "jpeg"], choices=["png", "jpeg"])
    parser.add_argument("--images", type=int, default=128, help="samples of each dataset")
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many is reported")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size, image_format in itertools.product(options.sizes, options.formats):
        rows.append(measure(size, image_format, options.images, options.repeats))
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure(size: int, image_format: str, count: int, repeats: int) -> dict[str, object]:
    """Samples a second for every way to write and read, CPU time of this process, and bytes a sample."""
    source = DatasetStore.open(str(files("dataset_diffusion") / "assets" / "scenes"))
    samples = list(photos(source, size, count))
    manifest = DatasetManifest(
        class_set=source.class_set, num_samples=count, shard_size=64, image_format=image_format, model="benchmark"
    )
    order = np.random.default_rng(0).permutation(count).tolist()
    with tempfile.TemporaryDirectory() as folder:
        store = DatasetWriter.create(folder, manifest)
        rates = {"written": rate(lambda: fill(store, samples, range(manifest.num_shards)), count, repeats)}
        readers: dict[str, Callable[[], object]] = {
            "read at random (image, label)": lambda: [store.image_and_label(index) for index in order],
            "read at random (all)": lambda: [store[index] for index in order],
            "read in order (image, label)": lambda: [store.image_and_label(index) for index in range(count)],
            "read in order (all)": lambda: list(store),
            "labels in order": lambda: [store.label(index) for index in range(count)],
        }
        rates |= {name: rate(read, count, repeats) for name, read in readers.items()}
        size_on_disk = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    return {"pixels": size, "format": image_format, "kB a sample": round(size_on_disk / count / 1000, 1), **rates}


def rate(work: Callable[[], object], count: int, repeats: int) -> int:
    """Samples a second of CPU time, the best of some repetitions: what an idle core would do, measured on a busy one."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return round(count / min(seconds))


def photos(source: DatasetStore, size: int, count: int) -> Iterator[Sample]:
    """Scenes enlarged and made as noisy as photos, with the heatmaps of a model of that size."""
    random = np.random.default_rng(0)
    side = size // 16 if size >= 512 else size // 8
    for index in range(count):
        scene = source[index % len(source)]
        picture = np.asarray(Image.fromarray(scene.image).resize((size, size), Image.Resampling.BICUBIC))
        noisy = picture + random.normal(0, SENSOR_NOISE, picture.shape)
        label = np.asarray(Image.fromarray(scene.label).resize((size, size), Image.Resampling.NEAREST))
        values = random.random((len(EXPONENTS), len(scene.prompt.classes), side, side)).astype(np.float16)
        yield replace(
            scene,
            prompt=replace(scene.prompt, index=index),
            image=noisy.clip(0, 255).astype(np.uint8),
            label=label,
            heatmaps=Heatmaps(EXPONENTS, values, np.zeros((*values.shape[:2], 2), np.float32)),
        )


if __name__ == "__main__":
    main()
