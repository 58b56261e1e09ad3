"""From attention to a label map: products with the maps, against the published power of the matrix. Best of all rounds.

Both do everything else alike: resize, normalise, resize to the image, assign. The attention is made up: each cell attends to
those near it, and somewhat at random.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.labelling.assign import assign_labels
from dataset_diffusion.labelling.heatmaps import normalize
from dataset_diffusion.labelling.propagate import propagate

EXPONENT = LabelSettings().exponent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="image side, pixels")
    parser.add_argument("--classes", type=int, default=2, help="classes of the image")
    parser.add_argument("--cross", type=int, default=16, help="side of the cross-attention maps, cells")
    parser.add_argument("--self", type=int, default=32, dest="grid", help="side of the self-attention grid, cells")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--repeats", type=int, default=20, help="timed rounds")
    parser.add_argument("--json", type=Path, default=None, help="file to write")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    cross = torch.rand(options.classes, options.cross, options.cross, generator=generator).to(options.device)
    cells = torch.cartesian_prod(*[torch.arange(options.grid, dtype=torch.float32)] * 2)
    noise = torch.randn(len(cells), len(cells), generator=generator)
    matrix = (noise - torch.cdist(cells, cells)).softmax(-1).to(options.device)
    size, grid = (options.size, options.size), (options.grid, options.grid)
    ways = {
        "products": lambda: label(cross, matrix, EXPONENT, size),
        "matrix_power": lambda: label(cross, torch.linalg.matrix_power(matrix, EXPONENT), 1, size),
        "propagation_products": lambda: propagate(cross, matrix, grid, EXPONENT),
        "propagation_matrix_power": lambda: propagate(cross, torch.linalg.matrix_power(matrix, EXPONENT), grid, 1),
    }
    assert_alike(ways["products"](), ways["matrix_power"]())
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            times[name].append(seconds_of(way, options.device))
    result = {f"{name}_ms": round(1000 * min(seconds), 3) for name, seconds in times.items()}
    for part in ("", "propagation_"):
        result[f"{part}speedup"] = round(min(times[f"{part}matrix_power"]) / min(times[f"{part}products"]), 1)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps({**result, "threads": torch.get_num_threads()}, indent=2) + "\n")


def label(
    cross: Float[Tensor, "classes hc wc"], matrix: Float[Tensor, "hw hw"], exponent: int, size: tuple[int, int]
) -> UInt8[Tensor, "height width"]:
    """Propagate, normalise and assign."""
    side = round(len(matrix) ** 0.5)
    heatmaps = normalize(propagate(cross, matrix, (side, side), exponent))
    return assign_labels(heatmaps, range(1, 1 + len(cross)), size).cpu()


def assert_alike(first: Tensor, second: Tensor) -> None:
    """The two ways may differ in rounding only: in a few pixels on the edge between two labels."""
    differing = (first != second).float().mean().item()
    if differing > 0.01:
        raise RuntimeError(f"the ways disagree in {differing:.1%} of the pixels")


def seconds_of(way: Callable[[], Tensor], device: str) -> float:
    """Wall time of one call; on a GPU until its result has arrived."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
