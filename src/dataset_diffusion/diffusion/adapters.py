"""LoRA adapters: small files of weights that are added to a model's own. Safetensors only."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_diffusion.errors import ConfigError, ModelError, first_line
from dataset_diffusion.machine.hub import download


@dataclass(frozen=True)
class Adapter:
    """One adapter.

    Attributes:
        file: its safetensors file.
        scale: what its weights are multiplied by.
    """

    file: Path
    scale: float

    @property
    def fingerprint(self) -> str:
        """A hash of the file and the scale."""
        with self.file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        return hashlib.sha256(f"{content}:{self.scale}".encode()).hexdigest()[:16]


def find_adapters(names: Sequence[str]) -> tuple[Adapter, ...]:
    """Adapters by name.

    Args:
        names: each a safetensors file or a hub id (``owner/name``), and a scale after a colon where it is not 1.

    Raises:
        ConfigError: a scale that is no number.
        ModelError: no such file or repository, or one that is not of safetensors.
    """
    return tuple(_find(name) for name in names)


def _find(name: str) -> Adapter:
    path, colon, scale = name.rpartition(":")
    if not colon:
        path, scale = name, "1"
    try:
        number = float(scale)
    except ValueError as error:
        raise ConfigError("bad scale of a LoRA", got=name, expected="FILE:0.8 or OWNER/NAME:0.8") from error
    file = Path(path)
    if not file.exists() and file.suffix != ".safetensors" and path.count("/") == 1:
        file = _download(path)
    if not file.is_file() or file.suffix != ".safetensors":
        raise ModelError("no such LoRA", got=path, expected="a .safetensors file, or a repository of one (owner/name)")
    return Adapter(file, number)


def _download(hub_id: str) -> Path:
    folder = download(hub_id, ["*.safetensors"], "the LoRA", place="file")
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise ModelError(
            "not a repository of one LoRA",
            got=f"{', '.join(file.name for file in files) or 'no .safetensors file'} in {hub_id}",
            fix="download the one that is meant, and pass the file",
        )
    return files[0]


def load_adapters(pipeline: Any, adapters: Sequence[Adapter]) -> None:
    """Add adapters to a pipeline's weights, in place.

    Raises:
        ModelError: the pipeline takes none, a file is of another model, or the package peft is missing.
    """
    if not adapters:
        return
    if importlib.util.find_spec("peft") is None:
        raise ModelError("LoRA needs the package peft", fix="pip install 'dataset-diffusion[lora]'")
    if not hasattr(pipeline, "load_lora_weights"):
        raise ModelError("the model takes no LoRA", got=f"a {type(pipeline).__name__}")
    names = [f"adapter_{number}" for number in range(len(adapters))]
    for name, adapter in zip(names, adapters, strict=True):
        try:
            pipeline.load_lora_weights(str(adapter.file.parent), weight_name=adapter.file.name, adapter_name=name)
        except (ValueError, RuntimeError, KeyError, OSError) as error:
            raise _other_model(adapter, first_line(error)) from error
        if name not in {each for parts in pipeline.get_list_adapters().values() for each in parts}:
            raise _other_model(adapter, "none of its weights has a place")
    pipeline.set_adapters(names, [adapter.scale for adapter in adapters])


def _other_model(adapter: Adapter, why: str) -> ModelError:
    return ModelError("the LoRA is not of this model", got=f"{adapter.file} ({why})")
