"""Which family a pipeline is of, by the class of its transformer."""

from __future__ import annotations

from typing import Any

from dataset_diffusion.diffusion.families.aura_flow import AuraFlow
from dataset_diffusion.diffusion.families.base import Family
from dataset_diffusion.diffusion.families.cogview4 import CogView4
from dataset_diffusion.diffusion.families.flux import Flux
from dataset_diffusion.diffusion.families.flux2 import Flux2
from dataset_diffusion.diffusion.families.hunyuan_dit import HunyuanDiT
from dataset_diffusion.diffusion.families.lumina2 import Lumina2
from dataset_diffusion.diffusion.families.pixart import PixArt
from dataset_diffusion.diffusion.families.qwen_image import QwenImage
from dataset_diffusion.diffusion.families.sana import Sana
from dataset_diffusion.diffusion.families.stable_diffusion_3 import StableDiffusion3
from dataset_diffusion.diffusion.families.z_image import ZImage
from dataset_diffusion.errors import ModelError

FAMILIES: dict[str, type[Family]] = {
    "SD3Transformer2DModel": StableDiffusion3,
    "AuraFlowTransformer2DModel": AuraFlow,
    "CogView4Transformer2DModel": CogView4,
    "FluxTransformer2DModel": Flux,
    "Flux2Transformer2DModel": Flux2,
    "HunyuanDiT2DModel": HunyuanDiT,
    "Lumina2Transformer2DModel": Lumina2,
    "PixArtTransformer2DModel": PixArt,
    "QwenImageTransformer2DModel": QwenImage,
    "SanaTransformer2DModel": Sana,
    "ZImageTransformer2DModel": ZImage,
}
"""The families of transformers, by the class of the network."""


def family_of(pipeline: Any) -> Family:
    """The family of a pipeline; a ModelError where its network is of none."""
    network = getattr(pipeline, "transformer", None)
    kind = type(network).__name__
    if kind not in FAMILIES:
        raise ModelError(
            "not a model whose attention can be read",
            got=f"a {type(pipeline).__name__}" + ("" if network is None else f" with a {kind}"),
            expected=f"a UNet, or one of {', '.join(FAMILIES)}",
        )
    return FAMILIES[kind](pipeline)
