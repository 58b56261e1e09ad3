"""The commands that do every stage, or show what was done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from dataset_diffusion.cli.common import Result, announce, print_scores
from dataset_diffusion.config import (
    RunConfig,
)
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.recipe import Recipe

DEMO = Path("demo")
"""The demo's recipe, by name: sized for two CPU cores and ten minutes."""


def demo(
    out: Path = Path("runs/demo"), seed: int = 0, num_images: int | None = None, iterations: int | None = None
) -> Result:
    """Do the whole job with the embedded model, on a CPU: prompts, images, labels, a trained segmenter, its score.

    Args:
        out: Folder of the run.
        seed: The run's seed.
        num_images: Number of images; None takes the recipe's, 240.
        iterations: Training steps; None takes the recipe's, 600.
    """
    asked = {"seed": seed, "prompts.num_images": num_images, "train.iterations": iterations}
    return _run(Recipe(DEMO, [f"{name}={value}" for name, value in asked.items() if value is not None]).config, out)


def run(
    config: Annotated[Path, Positional, arg(metavar="CONFIG.toml|NAME")],
    out: Path,
    dry_run: bool = False,
    costs: Path | None = None,
    changes: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", help_behavior_hint="(default: none)")] = (),
) -> Result:
    """Do every stage of a recipe. The same command again resumes.

    Args:
        config: A TOML recipe, or the name of one that ships: celebamask-hq, cityscapes, coco, demo, dis5k, voc. Paths
            in a file are relative to it, those of one that ships to the current folder.
        out: Folder of the run.
        dry_run: Print what the run would do and cost, and write nothing.
        costs: With --dry-run, how fast the device is, as benchmarks/training_cost.py measures it; None assumes a GPU.
        changes: A setting in the place of the recipe's, as in --set train.iterations=100; paths are as in the recipe.
    """
    if costs is not None and not dry_run:
        raise ConfigError("--costs is for a plan", got=costs, fix="add --dry-run")
    recipe = Recipe(config, changes)
    if dry_run:
        from dataset_diffusion.stages.plan import plan, read_costs

        lines = [recipe.as_written(line) for line in plan(recipe.config, out, read_costs(costs))]
        print(*lines, sep="\n")
        return {"plan": lines}
    with recipe.errors_as_written():
        return _run(recipe.config, out)


def report(run: Annotated[Path, Positional, arg(metavar="RUN")]) -> Result:
    """Write one HTML page about a run or a dataset.

    Args:
        run: Folder of a run, or of a dataset.
    """
    from dataset_diffusion.stages import report as stage

    page = stage.report(run)
    print(f"wrote {page}")
    return {"out": page}


def doctor() -> Result:
    """Say what this machine can run, and what can be named."""
    from dataset_diffusion.doctor import describe_machine, format_machine

    machine = describe_machine()
    print(*format_machine(machine), sep="\n")
    return machine


def _run(config: RunConfig, out: Path) -> Result:
    # Said first: importing what comes next takes seconds.
    images, steps = config.prompts.num_images, config.train.iterations
    announce(f"{images:,} images and {steps:,} training steps into {out}; the same command resumes")
    from dataset_diffusion.stages.run import run_all

    results = run_all(config, out)
    if results:  # a recipe without a benchmark has none
        print_scores(results)
    print(f"report: {out / 'report.html'}")
    return {"out": out, "report": out / "report.html", "results": results}
