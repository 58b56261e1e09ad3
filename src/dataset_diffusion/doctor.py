"""What this machine can run, and what can be named."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE

from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.evaluation.table import BENCHMARKS
from dataset_diffusion.segmentation.models import SEGMENTERS
from dataset_diffusion.version import __version__

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "lightning", "pyarrow")
"""Those whose versions matter in a report of an error."""


def describe_machine() -> dict[str, Any]:
    """Versions, devices, memory and disk in GiB, extras, downloaded models, and all names that can be used."""
    here = Path.cwd()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu_threads": torch.get_num_threads(),
        "memory_gib": _memory(),
        "gpus": [
            {"device": f"cuda:{number}", "name": one.name, "memory_gib": round(one.total_memory / 2**30, 1)}
            for number, one in enumerate(map(torch.cuda.get_device_properties, range(torch.cuda.device_count())))
        ],
        "mps": torch.backends.mps.is_available(),
        "folder": str(here),
        "disk_free_gib": round(shutil.disk_usage(here).free / 2**30, 1),
        "extras": _extras(),
        "cached_models": _cached_models(Path(HF_HUB_CACHE)),
        "models": list(MODELS),
        "segmenters": list(SEGMENTERS),
        "benchmarks": list(BENCHMARKS),
    }


def format_machine(machine: dict[str, Any]) -> Iterator[str]:
    """What `describe_machine` found, line by line."""
    yield f"dataset-diffusion {machine['version']}, Python {machine['python']} on {machine['system']}"
    yield f"packages: {', '.join(f'{name} {number}' for name, number in machine['packages'].items())}"
    memory = "" if machine["memory_gib"] is None else f", {machine['memory_gib']} GiB of memory"
    yield f"CPU: {machine['cpu_threads']} threads{memory}"
    for gpu in machine["gpus"]:
        yield f"{gpu['device']}: {gpu['name']}, {gpu['memory_gib']} GiB"
    if machine["mps"]:
        yield "mps: an Apple GPU"
    if not machine["gpus"] and not machine["mps"]:
        yield "no GPU: `embedded` runs well here, Stable Diffusion at minutes an image"
    yield f"disk: {machine['disk_free_gib']} GiB free in {machine['folder']}"
    for what, there in (("installed", True), ("not installed", False)):
        names = [name for name, installed in machine["extras"].items() if installed is there]
        yield f"extras {what}: {', '.join(names) or 'none'}"
    yield f"downloaded from the hub: {', '.join(machine['cached_models']) or 'none'}"
    yield f"models: {', '.join(machine['models'])}, a hub id, or a diffusers folder"
    yield f"segmenters: {', '.join(machine['segmenters'])}"
    yield f"benchmarks: {', '.join(machine['benchmarks'])}, or a labelled dataset's folder"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> float | None:
    """Of the machine, in GiB; None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _extras() -> dict[str, bool]:
    """Each extra of the package, and whether all that it needs is installed."""
    found: dict[str, bool] = {}
    for needed in (requires("dataset-diffusion") or ()) if _version("dataset-diffusion") else ():
        if extra := re.search(r"""extra == ['"](.+?)['"]""", needed):
            there = _version(re.split(r"[^\w.-]", needed, maxsplit=1)[0]) is not None
            found[extra[1]] = found.get(extra[1], True) and there
    return found


def _cached_models(cache: Path) -> list[str]:
    """Models that were downloaded from the hub, by their id."""
    names = (folder.parent.name for folder in cache.glob("models--*/snapshots"))
    return sorted(name.removeprefix("models--").replace("--", "/") for name in names)
