"""Where networks compute."""

from __future__ import annotations

import torch

from dataset_diffusion.errors import ConfigError


def resolve_device(name: str | None) -> torch.device:
    """The device of that name; None takes the accelerator there is, or the CPU.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        return accelerator or torch.device("cpu")
    known = ("cpu", *([accelerator.type] if accelerator else []))
    try:
        device = torch.device(name)
        usable = device.type in known and (device.index or 0) < max(1, torch.accelerator.device_count())
    except RuntimeError:
        usable = False
    if not usable:
        raise ConfigError("no such device here", got=repr(name), expected=f"one of {', '.join(known)}")
    return device
