"""The pictures of the documentation that show the product at work, made from a dataset of the embedded model.

dataset-diffusion prompts --classes emoji --num-images 24 --out build/pictures/prompts.jsonl
dataset-diffusion generate --prompts build/pictures/prompts.jsonl --out build/pictures/dataset
PYTHONPATH=.:tests python tools/site/pictures.py build/pictures/dataset --sample 7
"""

import argparse
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tests.helpers.browser import open_browser

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.records import Sample
from dataset_diffusion.report.figures import colored_heatmap, colored_label

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIDE, GAP = 160, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--sample", type=int, default=0, help="the one that is explained")
    options = parser.parse_args()
    store = DatasetStore.open(options.dataset)
    explain(store, store[options.sample]).save(IMAGES / "attention.png")
    photograph(options.dataset, options.sample)


def explain(store: DatasetStore, sample: Sample) -> Image.Image:
    """Row by row: a class's heatmap after 0, 1, 2, 4, 8 products; label maps of other thresholds, and refined."""
    assert sample.heatmaps is not None
    rows = [[sample.image, *(colored_heatmap(values[0], sample.label.shape) for values in sample.heatmaps.values)]]
    own = store.manifest.provenance.label or store.manifest.provenance.fitting
    chosen = [
        own.model_copy(update={"threshold": alpha, "uncertainty_threshold": beta, "refine": refine})
        for alpha, beta, refine in [
            (0.3, 0.2, "none"),
            (0.5, 0.3, "none"),
            (0.7, 0.5, "none"),
            (0.5, 0.5, "none"),
            (0.5, 0.3, "pamr"),
        ]
    ]
    rows.append([sample.image, *(colored_label(labelled(sample, one), store.class_set) for one in chosen)])
    sheet = np.full((len(rows) * (SIDE + GAP) - GAP, 6 * (SIDE + GAP) - GAP, 3), 255, np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            top, left = row * (SIDE + GAP), column * (SIDE + GAP)
            sheet[top : top + SIDE, left : left + SIDE] = cv2.resize(
                picture, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST
            )
    return Image.fromarray(sheet)


def labelled(sample: Sample, settings: LabelSettings) -> np.ndarray:
    assert sample.heatmaps is not None
    height, width = sample.image.shape[:2]
    return label_map(sample.heatmaps, sample.prompt.classes, (height, width), settings, image=sample.image)


def photograph(dataset: Path, sample: int) -> None:
    """The studio as a person sees it."""
    command = [sys.executable, "-m", "dataset_diffusion", "studio", str(dataset)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        address = re.findall(r"http\S+", server.stdout.readline())[0]
        try:
            with open_browser() as browser:
                for name, place in (("studio", ""), ("studio-picture", f"#sample={sample}")):
                    page = browser.new_page(viewport={"width": 1180, "height": 760})
                    page.goto(address + place)
                    page.wait_for_load_state("networkidle")
                    page.screenshot(path=IMAGES / f"{name}.jpg", type="jpeg", quality=82)
        finally:
            server.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
