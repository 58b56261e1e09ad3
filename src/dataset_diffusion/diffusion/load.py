"""Load a diffusers pipeline and prepare it for the machine it runs on. Safetensors only."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from diffusers.pipelines.auto_pipeline import (
    AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    AUTO_INPAINT_PIPELINES_MAPPING,
    AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
)
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers.utils import logging as transformers_logging

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.diffusion.adapters import load_adapters
from dataset_diffusion.diffusion.families.unet import UNetModel
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.specs import ModelSpec, spec_of
from dataset_diffusion.diffusion.tiny_decoder import use_tiny_decoder
from dataset_diffusion.diffusion.transformer import TransformerModel
from dataset_diffusion.errors import ConfigError, ModelError, check_kind, first_line
from dataset_diffusion.machine.devices import inference_dtype, resolve_device
from dataset_diffusion.machine.hub import SAFE, load_pretrained

SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"clip_sample": False}),
    "dpm-solver++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "euler": (EulerDiscreteScheduler, {}),
    "lcm": (LCMScheduler, {"clip_sample": False}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
    "unipc": (UniPCMultistepScheduler, {}),
}
"""Scheduler classes, and what is set beside the model's own noise schedule: latents are not clipped to [-1, 1] as
pixels are, and PNDM starts without its four-fold Runge-Kutta steps.
"""

KINDS: tuple[type[DiffusionModel], ...] = (UNetModel, TransformerModel)
"""What a pipeline can be; whoever asks for a model imports them by this module."""

COMPILED: tuple[type[nn.Module], ...] = (ResnetBlock2D, FeedForward)
"""The blocks that gain from compilation and hold no attention layer: capture's hooks are never compiled away."""

_BYTES = 256
"""A byte-level tokenizer knows at least every byte. Without its files transformers makes one that knows nothing."""

_PICKLES = {".bin", ".ckpt", ".pt", ".pth"}


def load_model(name_or_path: str | Path, device: str | None = None, dtype: str | None = None) -> DiffusionModel:
    """Load a diffusion model.

    Args:
        name_or_path: a name of ``MODELS``, a hub id (``owner/name``, ``owner/name@commit``), or a local folder.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None takes the best one there is.
        dtype: ``float32``, ``float16`` or ``bfloat16``; None takes the spec's, and float32 on the CPU.

    Raises:
        ModelError, ConfigError: as for ``load_from_settings``.
    """
    check_kind(name_or_path, (str, Path), "model", fix='load_model("embedded") loads the one that ships')
    asked: dict[str, Any] = {"model": str(name_or_path), "device": device, "dtype": dtype}
    return load_from_settings(GenerateSettings(**asked))


def load_from_settings(settings: GenerateSettings) -> DiffusionModel:
    """Load a diffusion model with another scheduler, compiled, for a small card and so on.

    Args:
        settings: ``model``, ``lora``, ``tiny_decoder``, ``device``, ``dtype``, ``scheduler``, ``compile``,
            ``channels_last``, ``vae_slicing``, ``vae_tiling`` and ``cpu_offload`` are looked at.

    Raises:
        ModelError: no such name, folder or hub repository; a component or its safetensors weights are missing, or a
            package is.
        ConfigError: this machine has no such device, or offloading without a GPU.
    """
    spec = spec_of(settings)
    device = resolve_device(settings.device)
    if settings.cpu_offload:
        check_offload(device)
    dtype = getattr(torch, settings.dtype) if settings.dtype else inference_dtype(device, spec.dtype)
    pipeline = _read_pipeline(spec, dtype)
    pipeline.set_progress_bar_config(disable=True)
    load_adapters(pipeline, spec.adapters)
    use_tiny_decoder(pipeline, spec.decoder, dtype)
    model = DiffusionModel.from_pipeline(pipeline, spec)
    if (scheduler := settings.scheduler or spec.scheduler) in SCHEDULERS:
        if isinstance(model, TransformerModel) and model.family.is_flow:
            raise ConfigError(
                "a scheduler of another kind of model",
                got=scheduler,
                expected=f"the model's own, {type(pipeline.scheduler).__name__}",
                fix="leave out --scheduler",
            )
        pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
    if settings.channels_last:
        for network in (denoiser(pipeline), pipeline.vae):
            network.to(memory_format=torch.channels_last)
    if settings.vae_slicing:
        pipeline.vae.enable_slicing()
    if settings.vae_tiling:
        pipeline.vae.enable_tiling()
    if settings.compile:
        compile_blocks(pipeline)
    if settings.cpu_offload:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return model


def denoiser(pipeline: Any) -> Any:
    """The UNet or transformer of a pipeline."""
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def make_scheduler(name: str, config: Any) -> Any:
    """A scheduler by name, with the noise schedule of another one's config; a ConfigError where the name is unknown."""
    if name not in SCHEDULERS:
        raise ConfigError("unknown scheduler", got=name, expected=f"one of {', '.join(SCHEDULERS)}")
    kind, options = SCHEDULERS[name]
    return kind.from_config(config, **options)


def compile_blocks(pipeline: Any, kinds: tuple[type[nn.Module], ...] = COMPILED, **options: Any) -> None:
    """Compile blocks of the network and of the image decoder, in place; ``options`` are those of ``torch.compile``."""
    # The blocks of a kind share their code and differ in their widths, each of which is compiled once.
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for network in (denoiser(pipeline), pipeline.vae.decoder):
        for block in network.modules():
            if isinstance(block, kinds):
                block.compile(**options)


def _read_pipeline(spec: ModelSpec, dtype: torch.dtype) -> Any:
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity(library.CRITICAL)  # what they call errors ends up in ours
        library.disable_progress_bar()
    pipeline = load_pretrained(
        spec.path,
        lambda: DiffusionPipeline.from_pretrained(
            spec.path,
            revision=spec.revision,
            dtype=dtype,
            variant=_variant(Path(spec.path)),
            **_left_out(Path(spec.path)),
            **SAFE,
        ),
        explain=lambda error: _explain(Path(spec.path), error),
        missing="cannot load the diffusion model from the hub",
        expected="a hub that can be reached, and a repository with safetensors weights",
        say_why=True,
    )
    kinds: Any = tuple(AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values())
    others: Any = (*AUTO_IMAGE2IMAGE_PIPELINES_MAPPING.values(), *AUTO_INPAINT_PIPELINES_MAPPING.values())
    if (hasattr(pipeline, "unet") or isinstance(pipeline, others)) and not isinstance(pipeline, kinds):
        raise ModelError(
            "not a text-to-image pipeline",
            got=f"{type(pipeline).__name__} in {spec.path}",
            expected="such as StableDiffusionPipeline",
            fix="name the model that this one was made from",
        )
    if len(pipeline.tokenizer) < _BYTES:
        raise ModelError(
            "the model's tokenizer has no vocabulary",
            got=f"{len(pipeline.tokenizer)} tokens in {spec.path}",
            expected="the files of tokenizer/",
            fix="save the pipeline again with save_pretrained",
        )
    return pipeline


def _variant(folder: Path) -> str | None:
    """``fp16`` where a folder has its weights as fp16 files alone, which says nothing about how it computes."""
    weights = [file.name for part in ("unet", "transformer") for file in folder.glob(f"{part}/*.safetensors")]
    return "fp16" if weights and all(".fp16" in name for name in weights) else None


def _explain(folder: Path, error: Exception) -> ModelError:
    pickles = [file for file in sorted(folder.glob("*/*")) if file.suffix in _PICKLES]
    if any(not list(file.parent.glob("*.safetensors")) for file in pickles):
        return ModelError(
            "the model's weights are pickles, which can run any code when opened",
            got=", ".join(str(file.relative_to(folder)) for file in pickles),
            expected="safetensors weights",
            fix="where you trust them, load them with diffusers and save_pretrained(..., safe_serialization=True)",
        )
    return ModelError(
        "cannot load the diffusion model",
        got=f"{folder} ({next(_damages(folder), first_line(error))})",
        expected="a complete diffusers pipeline with safetensors weights",
        fix="save the pipeline again with save_pretrained",
    )


def _left_out(folder: Path) -> dict[str, None]:
    """The parts that a folder was saved without, as Stable Diffusion 3 without T5; diffusers wants to be told."""
    return {name: None for name, kind in _parts(folder).items() if kind == [None, None]}


def _parts(folder: Path) -> dict[str, Any]:
    """The library and class of each part that a folder's index names; nothing where there is none."""
    index = folder / "model_index.json"
    parts = json.loads(index.read_bytes()) if index.is_file() else {}
    return parts if isinstance(parts, dict) else {}


def _damages(folder: Path) -> Iterator[str]:
    """What is plainly wrong with a pipeline's folder; the libraries often do not say where."""
    for file in sorted(folder.rglob("*.json")):
        try:
            json.loads(file.read_bytes())
        except ValueError as error:
            yield f"{file.relative_to(folder)} is not JSON: {error}"
    for name, kind in _parts(folder).items():
        if isinstance(kind, list) and all(kind) and not (folder / name).is_dir():
            yield f"without {name}/"


def check_offload(device: torch.device) -> None:
    """Refuse to offload from the CPU, or without the package accelerate."""
    if device.type == "cpu":
        raise ConfigError("nothing to offload from", got="device cpu", expected="a GPU with --cpu-offload")
    if importlib.util.find_spec("accelerate") is None:
        raise ModelError(
            "offloading to the CPU needs the package accelerate", fix="pip install 'dataset-diffusion[offload]'"
        )
