"""Stable Diffusion's architectures at full size, with random weights: cost does not depend on their values.

The configs are those of the published checkpoints, so that nothing needs to be downloaded to measure what a step costs
or to prove that reading attention changes no pixel. `scale` divides the channels for tests; block types, depths and
numbers of heads stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from dataset_diffusion.diffusion.specs import MODELS

Config = dict[str, Any]

CLIP_VOCABULARY = 49408
CLIP_LENGTH = 77


@dataclass(frozen=True)
class Architecture:
    """The networks of a pipeline, as arguments of their classes."""

    unet: Config
    text_encoders: tuple[Config, ...]
    vae: Config


_VAE: Config = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
_FOUR_LEVELS: Config = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "layers_per_block": 2,
}
_CLIP_LARGE: Config = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
}

ARCHITECTURES: dict[str, Architecture] = {
    "sd15": Architecture(
        # diffusers took `attention_head_dim` for the number of heads, and kept the name.
        unet=_FOUR_LEVELS | {"attention_head_dim": 8, "cross_attention_dim": 768},
        text_encoders=(_CLIP_LARGE,),
        vae=_VAE,
    ),
    "sd21-base": Architecture(
        unet=_FOUR_LEVELS
        | {"attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True},
        text_encoders=(
            {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 23,
                "num_attention_heads": 16,
                "hidden_act": "gelu",
            },
        ),
        vae=_VAE,
    ),
    "sdxl-base": Architecture(
        unet={
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "layers_per_block": 2,
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        text_encoders=(
            _CLIP_LARGE,
            {
                "hidden_size": 1280,
                "intermediate_size": 5120,
                "num_hidden_layers": 32,
                "num_attention_heads": 20,
                "hidden_act": "gelu",
                "projection_dim": 1280,
            },
        ),
        vae=_VAE | {"sample_size": 1024, "scaling_factor": 0.13025},
    ),
}


def build_unet(name: str, scale: int = 1) -> UNet2DConditionModel:
    """The UNet of an architecture, its channels divided by ``scale``."""
    config = dict(ARCHITECTURES[name].unet)
    if scale > 1:
        config["block_out_channels"] = tuple(width // scale for width in config["block_out_channels"])
        config["cross_attention_dim"] //= scale
        config["norm_num_groups"] = 4
        if "addition_time_embed_dim" in config:
            config["addition_time_embed_dim"] //= scale
            config["projection_class_embeddings_input_dim"] //= scale
    return UNet2DConditionModel(**config).eval()


def build_text_encoder(config: Config, tokenizer: CLIPTokenizer, scale: int = 1, *, projected: bool = False) -> Any:
    """A CLIP text encoder over a tokenizer's ids, channels divided by ``scale``; ``projected`` as SDXL's second one."""
    thin = {
        key: config[key] // scale for key in ("hidden_size", "intermediate_size", "projection_dim") if key in config
    }
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    full = {**config, **thin, **ids, "vocab_size": max(CLIP_VOCABULARY if scale == 1 else 0, len(tokenizer))}
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    return kind(CLIPTextConfig(max_position_embeddings=CLIP_LENGTH, **full)).eval()


def build_vae(name: str, scale: int = 1) -> AutoencoderKL:
    """The autoencoder of an architecture, its channels divided by ``scale``."""
    config = dict(ARCHITECTURES[name].vae)
    if scale > 1:
        config["block_out_channels"] = tuple(width // scale for width in config["block_out_channels"])
        config["norm_num_groups"] = 4
    return AutoencoderKL(**config).eval()


def build_pipeline(
    name: str, scale: int = 1, *, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """The diffusers pipeline of an architecture with random weights, which follow from ``seed``."""
    architecture = ARCHITECTURES[name]
    tokenizer = CLIPTokenizer.from_pretrained(Path(MODELS["embedded"].path) / "tokenizer", model_max_length=CLIP_LENGTH)
    torch.manual_seed(seed)
    with torch.device(device):
        networks = {"unet": build_unet(name, scale), "vae": build_vae(name, scale)}
        encoders = [
            build_text_encoder(config, tokenizer, scale, projected=bool(place))
            for place, config in enumerate(architecture.text_encoders)
        ]
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
    parts = {
        **networks,
        "text_encoder": encoders[0],
        "tokenizer": tokenizer,
        "scheduler": DDIMScheduler(**schedule, clip_sample=False),
        "feature_extractor": None,
    }
    if len(encoders) == 2:
        pipeline = StableDiffusionXLPipeline(
            **parts, text_encoder_2=encoders[1], tokenizer_2=tokenizer, add_watermarker=False
        )
    else:
        pipeline = StableDiffusionPipeline(**parts, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(dtype)
