"""How much faster are two Ray workers of one core each than one? For `generate` with the embedded model, and `relabel`.

Two rates are given: of the whole command, and of its work, from the moment when every worker has written a shard to the
last shard. In between lie the start of Ray and the loading of the model, which a long job does not notice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORKERS = (1, 2)
LABELS = ("--exponent", "1", "--threshold", "0.4", "--uncertainty-threshold", "0.25", "--refine", "pamr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--count", type=int, default=128, help="images")
    parser.add_argument("--steps", type=int, default=25, help="denoising steps")
    parser.add_argument("--shard-size", type=int, default=8, help="images in a shard, the unit of work")
    parser.add_argument("--out", type=Path, default=Path("scaling.json"), help="file to write the figures to")
    options = parser.parse_args()
    if options.count < 2 * max(WORKERS) * options.shard_size:
        parser.error(f"--count has to be at least {2 * max(WORKERS)} shards, for every worker to have two")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options.count, options.steps, options.shard_size)
    settings = {name: getattr(options, name) for name in ("count", "steps", "shard_size")}
    options.out.write_text(
        json.dumps({"settings": settings, "cores": len(os.sched_getaffinity(0)), "rows": rows}, indent=2) + "\n"
    )
    print(
        "| command | workers | images/s at work | images/s of the whole command | seconds of it |\n|---|---|---|---|---|"
    )
    for row in rows:
        print("| {command} | {workers} | {rate:.2f} | {whole_rate:.2f} | {seconds:.0f} |".format(**row))


def measure(folder: Path, count: int, steps: int, shard_size: int) -> list[dict[str, Any]]:
    """One row for each command and number of workers."""
    prompts, rows = str(folder / "prompts.jsonl"), []
    run("prompts", "--num-images", str(count), "--out", prompts)
    size = ("--batch-size", str(shard_size), "--shard-size", str(shard_size))
    for workers in WORKERS:
        words = (
            "generate",
            "--prompts",
            prompts,
            "--steps",
            str(steps),
            *size,
            "--device",
            "cpu",
            "--num-workers",
            str(workers),
        )
        rows.append(measure_command(words, workers, folder / f"drawn-{workers}"))
    for workers in WORKERS:
        words = ("relabel", str(folder / "drawn-1"), *LABELS, "--num-workers", str(workers))
        rows.append(measure_command(words, workers, folder / f"relabelled-{workers}"))
    return rows


def measure_command(words: tuple[str, ...], workers: int, out: Path) -> dict[str, Any]:
    started = time.time()
    run(*words, "--executor", "ray", "--out", str(out))
    seconds = time.time() - started
    manifest = json.loads((out / "dataset.json").read_text())
    written = sorted(shard.stat().st_mtime for shard in (out / "shards").glob("*.parquet"))
    # The last shard may be a smaller one; which one was written last does not matter to the sum.
    at_work = manifest["num_samples"] - workers * manifest["shard_size"]
    return {
        "command": words[0],
        "workers": workers,
        "rate": at_work / (written[-1] - written[workers - 1]),
        "whole_rate": manifest["num_samples"] / seconds,
        "seconds": seconds,
    }


def run(*words: str) -> None:
    """A command whose workers compute with one thread each."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "dataset_diffusion", *words], env=environment, check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
