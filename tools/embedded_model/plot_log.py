"""Draw the loss curves of a training log: docs/embedded_model/loss.svg."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

SMOOTHING = 5
"""Log lines, of 20 steps each, that a point of the curve is the mean of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--logs", type=Path, default=Path("docs/embedded_model"), help="folder of the .jsonl logs")
    folder = parser.parse_args().logs
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("diffusion", "decoder"), strict=True):
        # A resumed training logs the steps after its checkpoint again; the later line is the one that counts.
        rows = {row["step"]: row for row in map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())}
        steps, losses = sorted(rows), [rows[step]["loss"] for step in sorted(rows)]
        window = [losses[max(0, i - SMOOTHING + 1) : i + 1] for i in range(len(losses))]
        axes.plot(steps, losses, color="#c5d9d6", linewidth=1)
        axes.plot(steps, [sum(part) / len(part) for part in window], color="#1a7468")
        axes.set(title=name, xlabel="step", ylabel="loss", yscale="log")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "loss.svg")


if __name__ == "__main__":
    main()
