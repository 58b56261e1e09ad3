"""Which layers of the embedded model say best where an object is? What its spec's choice was made from.

Reads 128 composed scenes of another seed than the held-out ones (results.py makes them, with
tools/embedded_model/make_scenes.py --seed 3).
"""

from __future__ import annotations

import argparse
import dataclasses
from itertools import product
from pathlib import Path

from benchmarks.label_quality import SCENES, read_heatmaps, score_labels, with_layers

from dataset_diffusion.config import STORED_EXPONENTS, CaptureSettings, LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.load import load_model

CROSS = (("up_blocks.1.attentions.1",), ("up_blocks.1",), ("",))
SELF = (("down_blocks.0",), ("up_blocks.1.attentions.0",), ("up_blocks.1.attentions.1",), ("up_blocks.1",), ("",))
TIMESTEPS = ((201, 401), (301, 501), (301, 501, 701), (501, 701))
CUTS = (0.3, 0.4, 0.5, 0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=SCENES, help="dataset of scenes")
    parser.add_argument("--count", type=int, default=128, help="scenes to read")
    parser.add_argument("--model", default="embedded", help="model by name or folder")
    parser.add_argument("--refine", choices=("none", "pamr"), default="none", help="boundary refinement of the labels")
    options = parser.parse_args()
    store = DatasetStore.open(options.scenes)
    samples = [store[index] for index in range(options.count)]
    embedded = load_model("embedded")
    model = load_model(options.model)
    model.spec = dataclasses.replace(embedded.spec, path=options.model)
    print("| cross-attention | self-attention | timesteps | exponent", *(f"mIoU at {cut}" for cut in CUTS), sep=" | ")
    spec = model.spec
    combinations = list(product(CROSS, SELF, [spec.attend_timesteps]))
    combinations += [(spec.cross_attention.prefixes, spec.self_attention.prefixes, times) for times in TIMESTEPS]
    for cross, self_attention, timesteps in combinations:
        reader = with_layers(model, cross, self_attention)
        reader.spec = dataclasses.replace(reader.spec, attend_timesteps=timesteps)
        heatmaps = read_heatmaps(reader, samples, CaptureSettings())
        for exponent in STORED_EXPONENTS[:4]:
            settings = [
                LabelSettings(exponent=exponent, threshold=cut, uncertainty_threshold=cut, refine=options.refine)
                for cut in CUTS
            ]
            scores = [f"{score_labels(samples, heatmaps, s)['mIoU']:.3f}" for s in settings]
            print(
                f"| {cross[0] or 'all'} | {self_attention[0] or 'all'} | {timesteps} | {exponent}", *scores, sep=" | "
            )


if __name__ == "__main__":
    main()
