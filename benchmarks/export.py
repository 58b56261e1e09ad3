"""How fast is a dataset exported? Images a second of every format, by the clock and by processor time, and peak memory.

Every format is exported in a process of its own, as a command would. `--enlarge 4` makes 512 x 512 images of the
shipped 128 x 128 scenes first.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import resource
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image
from tests.helpers.factories import fill

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.table import EXPORTS
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.records import Sample
from dataset_diffusion.stages.export import export_dataset

CHOICES = [*({"format": name} for name in EXPORTS), {"format": "coco", "polygons": True, "instances": True}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=files("dataset_diffusion") / "assets" / "scenes")
    parser.add_argument("--enlarge", type=int, default=1, help="make images so many times larger first")
    parser.add_argument("--count", type=int, default=128, help="images to enlarge")
    parser.add_argument("--image-format", default="png", help="of the enlarged images: png or jpeg")
    options = parser.parse_args()
    print("| format | images/s | images/s of processor time | peak memory, MiB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        dataset = options.dataset
        if options.enlarge > 1:
            dataset = enlarge(dataset, Path(folder) / "dataset", options.enlarge, options.count, options.image_format)
        for number, choice in enumerate(CHOICES):
            processes = multiprocessing.get_context("spawn").Pool(1)
            figures = processes.apply(measure, (dataset, Path(folder) / str(number), choice))
            processes.close()
            name = choice["format"] + "".join(f" --{option}" for option in choice if option != "format")
            print(f"| {name} | " + " | ".join(f"{figure:,.0f}" for figure in figures) + " |", flush=True)


def enlarge(source: Path, folder: Path, times: int, count: int, image_format: str) -> Path:
    """The first images of a dataset, enlarged, as a dataset."""
    scenes = DatasetStore.open(source)
    manifest = scenes.manifest.model_copy(update={"num_samples": count, "image_format": image_format})
    fill(DatasetWriter.create(folder, manifest), lambda index: _enlarged(scenes[index], times))
    return folder


def _enlarged(sample: Sample, times: int) -> Sample:
    height, width = sample.label.shape
    image = Image.fromarray(sample.image).resize((width * times, height * times), Image.Resampling.BICUBIC)
    label = sample.label.repeat(times, axis=0).repeat(times, axis=1)
    return dataclasses.replace(sample, image=np.array(image), label=label)


def measure(dataset: Path, out: Path, choice: dict) -> tuple[float, float, float]:
    settings = ExportSettings(**choice)
    wall, processor = time.perf_counter(), time.process_time()
    store = export_dataset(dataset, settings, out)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return len(store) / wall, len(store) / processor, peak


if __name__ == "__main__":
    main()
