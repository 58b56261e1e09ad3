"""What this machine can run, and what can be named."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.evaluation.table import BENCHMARKS
from dataset_diffusion.segmentation.models import SEGMENTERS
from dataset_diffusion.version import __version__


def describe_machine() -> Iterator[str]:
    """Versions, devices, disk, and the names of models, segmenters and benchmarks, line by line."""
    disk = shutil.disk_usage(Path.cwd())
    yield f"dataset-diffusion {__version__}, Python {platform.python_version()}"
    yield f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads"
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        yield f"cuda:{number} {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.is_available():
        yield "no CUDA device: `embedded` runs well here, Stable Diffusion at minutes an image"
    yield f"disk: {disk.free / 2**30:.0f} GiB free in {Path.cwd()}"
    yield f"models: {', '.join(MODELS)}, a hub id, or a diffusers folder"
    yield f"segmenters: {', '.join(SEGMENTERS)}"
    yield f"benchmarks: {', '.join(BENCHMARKS)}, or a labelled dataset's folder"
