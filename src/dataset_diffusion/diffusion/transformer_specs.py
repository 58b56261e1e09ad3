"""The published transformers that have a name here.

Layers and noise levels are those that were found to say best where things are, where somebody has looked: Seg4Diff
(SD 3), ConceptAttention (FLUX.1, FLUX.2), GoCA (FLUX.1, PixArt, HunyuanDiT). Nobody has measured labels of this package
with these weights.
"""

from __future__ import annotations

from typing import Any

from dataset_diffusion.diffusion.native import NATIVE, native_layers
from dataset_diffusion.diffusion.spec import FLOW_TIMESTEPS, ModelSpec
from dataset_diffusion.reading import LayerChoice

SIDE = 64
"""Image tokens a side of 1024 pixels; SANA's autoencoder makes them 32."""


def _blocks(first: int, last: int, kind: str = "transformer_blocks") -> tuple[str, ...]:
    return tuple(f"{kind}.{number}" for number in range(first, last + 1))


def _row(
    path: str,
    kind: str,
    *,
    layers: dict[str, int] | None = None,
    cross: tuple[str, ...] = ("",),
    own: tuple[str, ...] = (),
    side: int = SIDE,
    steps: int | None = None,
    guidance_scale: float | None = None,
    scheduler: str = "FlowMatchEulerDiscreteScheduler",
    timesteps: tuple[int, ...] = FLOW_TIMESTEPS,
) -> ModelSpec:
    """A model of 1024 pixels; ``layers`` are the numbers of its config where the layers follow from them."""
    native = NATIVE[kind]
    if layers is not None:
        cross_attention, self_attention = native_layers(native, layers, side)
    else:
        cross_attention, self_attention = LayerChoice(side, cross), LayerChoice(min(side, 32), own)
    return ModelSpec(
        path=path,
        height=1024,
        width=1024,
        cross_attention=cross_attention,
        self_attention=self_attention,
        num_inference_steps=steps or native.steps,
        guidance_scale=native.guidance_scale if guidance_scale is None else guidance_scale,
        scheduler=scheduler,
        attend_timesteps=timesteps,
        dtype="bfloat16",
    )


_FLUX: dict[str, Any] = {
    "cross": _blocks(15, 18),
    "own": ("transformer_blocks.12", "transformer_blocks.18"),
    "timesteps": (151,),
}

TRANSFORMERS: dict[str, ModelSpec] = {
    "sd35-medium": _row(
        "stabilityai/stable-diffusion-3.5-medium",
        "SD3Transformer2DModel",
        cross=_blocks(9, 9),
        own=_blocks(9, 9),
        steps=40,
        guidance_scale=4.5,
    ),
    "sd35-large-turbo": _row(
        "stabilityai/stable-diffusion-3.5-large-turbo",
        "SD3Transformer2DModel",
        layers={"num_layers": 38},
        steps=4,
        guidance_scale=1.0,
    ),
    "flux1-schnell": _row(
        "black-forest-labs/FLUX.1-schnell", "FluxTransformer2DModel", **_FLUX, steps=4, guidance_scale=1.0
    ),
    "flux1-dev": _row("black-forest-labs/FLUX.1-dev", "FluxTransformer2DModel", **_FLUX),
    "flux2-klein": _row(
        "black-forest-labs/FLUX.2-klein-4B",
        "Flux2Transformer2DModel",
        cross=("transformer_blocks",),
        own=("transformer_blocks.4",),
        steps=4,
        guidance_scale=1.0,
    ),
    "pixart-sigma": _row(
        "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
        "PixArtTransformer2DModel",
        own=_blocks(10, 17),
        scheduler="DPMSolverMultistepScheduler",
        timesteps=(101,),
    ),
    "sana": _row(
        "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
        "SanaTransformer2DModel",
        layers={"num_layers": 20},
        side=32,
        scheduler="DPMSolverMultistepScheduler",
    ),
    "sana-sprint": _row(
        "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
        "SanaTransformer2DModel",
        layers={"num_layers": 20},
        side=32,
        steps=2,
        scheduler="SCMScheduler",
    ),
    "hunyuan-dit": _row(
        "Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers",
        "HunyuanDiT2DModel",
        cross=_blocks(20, 29, "blocks"),
        own=_blocks(20, 29, "blocks"),
        scheduler="DDPMScheduler",
        timesteps=(101,),
    ),
    "qwen-image": _row("Qwen/Qwen-Image", "QwenImageTransformer2DModel", layers={"num_layers": 60}),
    "z-image-turbo": _row(
        "Tongyi-MAI/Z-Image-Turbo", "ZImageTransformer2DModel", layers={"n_layers": 30}, steps=9, guidance_scale=1.0
    ),
    "lumina2": _row("Alpha-VLLM/Lumina-Image-2.0", "Lumina2Transformer2DModel", layers={"num_layers": 26}),
    "aura-flow": _row(
        "fal/AuraFlow-v0.3",
        "AuraFlowTransformer2DModel",
        layers={"num_mmdit_layers": 4, "num_single_dit_layers": 32},
    ),
    "cogview4": _row("THUDM/CogView4-6B", "CogView4Transformer2DModel", layers={"num_layers": 30}),
}
"""By name; their commits are not pinned, so `model_spec` takes the newest one of the moment and records it."""
