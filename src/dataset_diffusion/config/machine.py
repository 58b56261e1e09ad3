"""How and where the machine computes. Results do not depend on it, up to rounding. Imports no torch."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, field_validator

from dataset_diffusion.config.base import PositiveInt, Settings

AnyValue = TypeVar("AnyValue")


class MachineSettings(Settings):
    """How the machine computes it. Only rounding depends on these settings, so a dataset can be resumed with others."""

    device: str | None = None
    """cpu, cuda, cuda:1, mps; None takes the best one there is."""
    batch_size: PositiveInt = 16
    """Images generated at once."""
    compile: bool = False
    """Compile the UNet's blocks and the image decoder: faster after a first batch that takes minutes."""
    channels_last: bool = False
    """Keep images channels-last in memory, which tensor cores read faster."""
    vae_slicing: bool = False
    """Decode the images of a batch one at a time, for small cards."""
    cpu_offload: bool = False
    """Keep on the GPU only the part of the model that is computing, for small cards."""


MACHINE_SETTINGS = frozenset(f"generate.{name}" for name in MachineSettings.model_fields)
"""Their names in a recipe: settings that a dataset or a run may be resumed with others of."""


def _only_with_ray(value: AnyValue, info: Any) -> AnyValue:
    if value is not None and info.data.get("executor") != "ray":
        raise ValueError("--executor ray, the only one that takes it")
    return value


class WorkerSettings(Settings):
    """Where work is done. The results are the same bytes everywhere."""

    executor: Literal["local", "ray"] = "local"
    """`local` works here, `ray` in the workers of a Ray cluster."""
    num_workers: PositiveInt | None = None
    """Processes; None takes one per core."""
    address: Annotated[str | None, AfterValidator(_only_with_ray)] = None
    """Address of a running Ray cluster, `auto` to find it; None starts one on this machine."""


class ModelWorkerSettings(WorkerSettings):
    """Where work is done that takes a model: this process has one, and every worker of a Ray cluster its own."""

    num_workers: Annotated[PositiveInt | None, AfterValidator(_only_with_ray)] = None
    """Workers of `ray`; None takes one per GPU or, where there is none, as many as the CPU cores allow."""


class ExecutorSettings(ModelWorkerSettings):
    """Where the images of a dataset are generated, and which of them."""

    part: str | None = None
    """`K/N`: fill every N-th shard from the K-th on, as one of N jobs that fill a dataset; None fills all shards."""

    @field_validator("part")
    @classmethod
    def _check_part(cls, part: str | None) -> str | None:
        numbers = re.fullmatch(r"(\d{1,9})/(\d{1,9})", part or "1/1")
        if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
            raise ValueError("K/N with K from 1 to N")
        return part

    def shards_of(self, num_shards: int) -> range:
        """The shards of the part, where the dataset has ``num_shards``."""
        first, step = map(int, (self.part or "1/1").split("/"))
        return range(first - 1, num_shards, step)
