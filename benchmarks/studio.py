"""How long the studio's first view takes, and one step of a slider, in a real browser on a large dataset.

    python -m benchmarks.studio --num-samples 10000 --work build/studio

The dataset is made up once: smooth pictures and heatmaps of noise. Times are those of a browser that is
open already: from asking for the page until every picture and label map on the screen is there, and from moving the
threshold until they are redrawn.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
from tests.helpers import factories
from tests.helpers.browser import open_browser

from dataset_diffusion.config import STORED_EXPONENTS, LabelSettings
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.prompts.class_sets import class_set

CLASSES = class_set("emoji")
STEPS = 20

SHOWN = """() => [...document.querySelectorAll(".tile")].length > 0 && [...document.querySelectorAll(".tile")].every((tile) =>
  tile.querySelector("img").complete && tile.querySelector("canvas").width !== 300)"""
STEP = """(value) => { const slider = document.getElementById("threshold"); slider.value = value;
  const begun = performance.now(); slider.dispatchEvent(new Event("input", {bubbles: true})); return performance.now() - begun; }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-samples", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=128, help="pixels of the pictures")
    parser.add_argument("--work", type=Path, default=Path("build/studio"))
    options = parser.parse_args()
    folder = options.work / f"{options.num_samples}-{options.side}"
    store = make_dataset(folder, options.num_samples, options.side)
    shutil.rmtree(folder.with_name(f"{folder.name}.decisions"), ignore_errors=True)
    print(f"{len(store):,} samples of {options.side} x {options.side} pixels")
    command = [sys.executable, "-m", "dataset_diffusion", "studio", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            measure(re.search(r"http\S+", server.stdout.readline())[0])
        finally:
            server.send_signal(signal.SIGINT)


def measure(address: str) -> None:
    with open_browser() as browser:
        browser.new_page().goto("data:text/html,<p>It takes a while to start, whatever it shows first.")
        for attempt in ("first", "second"):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address)
            page.wait_for_function(SHOWN, polling=10)
            print(f"{attempt} view: {page.evaluate('performance.now()') / 1000:.2f} s")
        page.evaluate(STEP, 0.55)  # has the evidence loaded
        page.wait_for_load_state("networkidle")
        tiles = page.locator(".tile").count()
        times = [page.evaluate(STEP, 0.3 + 0.02 * step) for step in range(STEPS)]
        print(
            f"slider: {median(times):.1f} ms a step, {max(times):.1f} ms at most, with {tiles} pictures on the screen"
        )


def make_dataset(folder: Path, num_samples: int, side: int) -> DatasetStore:
    """A dataset of made-up samples; one that is there is gone on with."""
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), axis=-1)

    def make(index: int) -> factories.Sample:
        class_id = index % CLASSES.num_classes + 1
        word = CLASSES.words[class_id - 1]
        heatmaps = factories.make_heatmaps(index, 1, STORED_EXPONENTS, (16, 16))
        label = label_map(heatmaps, (class_id,), (side, side), LabelSettings())
        quality = quality_scores(label, (class_id,), heatmaps)
        return factories.make_sample(
            index, classes=(class_id,), words=(word,), image=image, label=label, heatmaps=heatmaps, quality=quality
        )

    provenance = Provenance(seed=0, label=LabelSettings())
    return factories.write_dataset(folder, make, CLASSES, num_samples=num_samples, provenance=provenance)


if __name__ == "__main__":
    main()
