"""Where networks compute, and whether there is room for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dataset_diffusion.errors import ConfigError, ModelError, first_line


def resolve_device(name: str | None) -> torch.device:
    """The device of that name, or a ConfigError where there is none; None takes the accelerator, or else the CPU."""
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


def usable_cores() -> int:
    """CPU cores that this process may use."""
    # macOS and Windows do not say which.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def inference_dtype(device: torch.device, accelerated: str = "float16") -> torch.dtype:
    """The floating-point type to run a network in: float32 on the CPU, a shorter one on an accelerator."""
    dtype: torch.dtype = torch.float32 if device.type == "cpu" else getattr(torch, accelerated)
    return dtype


def usual_dtype(device: str | None, accelerated: str) -> str:
    """`inference_dtype` by name, of a device that another machine may have."""
    on_cpu = (device or resolve_device(None).type) == "cpu"
    return "float32" if on_cpu else accelerated


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch raised it for want of memory: a GPU's error has a class of its own, the CPU's only its text."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def too_little_memory(what: str, error: BaseException, fix: str) -> ModelError:
    """The error to raise where torch had too little memory ``what`` for, as in "for a single image"."""
    # The CPU's error begins with a place in torch's source; what follows a GPU's first sentence is for programmers.
    got = first_line(error).rpartition("DefaultCPUAllocator: ")[2].split(". ", maxsplit=1)[0]
    return ModelError(f"the device has too little memory {what}", got=got, fix=fix)


@contextmanager
def explained_memory_errors(what: str, fix: str) -> Iterator[None]:
    """Turn running out of memory into the ModelError of `too_little_memory`."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise too_little_memory(what, error, fix) from error
