"""The processes of a ``torchrun``, which train one segmenter together, and the part of the machine that each has."""

from __future__ import annotations

import os
from typing import Any

import torch

from dataset_diffusion.machine.devices import usable_cores


def process_and_count() -> tuple[int, int]:
    """Which process of a ``torchrun`` this is, and how many there are; (0, 1) without one."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def loader_workers() -> int:
    """How many of the cores that a process here may use are its own, as far as they are of use."""
    return min(8, usable_cores() // _processes_here())


def lightning_devices(device: torch.device) -> dict[str, Any]:
    """Lightning's arguments for one device, or for all processes of a ``torchrun``."""
    _, processes = process_and_count()
    if processes == 1:
        return {"accelerator": device.type, "devices": [device.index or 0] if device.type == "cuda" else 1}
    here = _processes_here()
    return {
        "accelerator": device.type,
        "devices": here,
        "num_nodes": processes // here,
        "strategy": "ddp",
        # torch has synchronised batch statistics on GPUs only.
        "sync_batchnorm": device.type == "cuda",
    }


def _processes_here() -> int:
    """Processes of a ``torchrun`` on this machine."""
    _, processes = process_and_count()
    return int(os.environ.get("LOCAL_WORLD_SIZE", processes))
