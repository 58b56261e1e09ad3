"""Does drawing what the segmenter is weak at beat drawing as many pictures evenly? The same command again resumes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean

import torch
from benchmarks.noisy_labels import make_scenes

from dataset_diffusion.config import EvaluateSettings, PromptSettings, RedrawSettings, RunConfig, TrainSettings
from dataset_diffusion.stages.run import run_all

SHARES = (0.0, 0.5, 1.0)
"""Of the captions that follow the weakness; 0 is the even drawing to compare with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/redrawing"), help="where runs are kept")
    parser.add_argument("--num-images", type=int, default=96, help="pictures before the first round, and in each")
    parser.add_argument("--iterations", type=int, default=120, help="training steps before and in each round")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of redrawing")
    parser.add_argument("--scenes", type=int, default=96, help="scenes to score on")
    parser.add_argument("--repeats", type=int, default=3, help="runs of every share, with other seeds")
    parser.add_argument("--icons", type=Path, default=Path("build/embedded_model"), help="where icons are installed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = make_scenes(options.work / "scenes", options.scenes, options.icons)
    scores: dict[float, list[float]] = {share: [] for share in SHARES}
    for seed in range(options.repeats):
        for share in SHARES:
            config = RunConfig(
                seed=seed,
                prompts=PromptSettings(num_images=options.num_images),
                train=TrainSettings(iterations=options.iterations, batch_size=8),
                redraw=RedrawSettings(rounds=options.rounds, num_images=options.num_images, share=share),
                evaluate=EvaluateSettings(benchmark=str(scenes.resolve())),
            )
            scores[share].append(run_all(config, options.work / f"share_{share}" / str(seed))["miou"])
            print(f"share {share}, seed {seed}: {scores[share][-1]:.4f}", file=sys.stderr, flush=True)
    print("| share that follows the weakness | mIoU | of the seeds |", "|---|---|---|", sep="\n")
    for share, values in scores.items():
        print(f"| {share} | {mean(values):.3f} | {', '.join(f'{value:.3f}' for value in values)} |")


if __name__ == "__main__":
    main()
