"""What a transformer's files say of its own size and layers, by the class of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dataset_diffusion.reading import LayerChoice

SELF_ATTENTION_SIDE = 32
"""Cells a side of the self-attention that is kept, at most: what it takes grows with their fourth power."""

_MANY_LAYERS = 16
_EVERY = 4


@dataclass(frozen=True)
class Native:
    """How a transformer is used unless told otherwise.

    Attributes:
        blocks: its lists of blocks, in the order in which they run, and what its config calls their numbers.
        steps, guidance_scale: the pipeline's own.
        pixels: a side, where the config has no ``sample_size``.
        patch: latent cells a side of an image token, where the config's ``patch_size`` is not that.
        is_joint: whether image and text share attention layers.
    """

    blocks: tuple[tuple[str, str], ...] = (("transformer_blocks", "num_layers"),)
    steps: int = 50
    guidance_scale: float = 4.0
    pixels: int | None = None
    patch: int | None = None
    is_joint: bool = True


_TWO_KINDS = (("transformer_blocks", "num_layers"), ("single_transformer_blocks", "num_single_layers"))

NATIVE: dict[str, Native] = {
    "SD3Transformer2DModel": Native(steps=28, guidance_scale=7.0),
    "AuraFlowTransformer2DModel": Native(
        (("joint_transformer_blocks", "num_mmdit_layers"), ("single_transformer_blocks", "num_single_dit_layers")),
        guidance_scale=3.5,
    ),
    "CogView4Transformer2DModel": Native(guidance_scale=5.0),
    "FluxTransformer2DModel": Native(_TWO_KINDS, steps=28, guidance_scale=3.5, pixels=1024, patch=2),
    "Flux2Transformer2DModel": Native(_TWO_KINDS, pixels=1024, patch=2),
    "HunyuanDiT2DModel": Native((("blocks", "num_layers"),), guidance_scale=5.0, is_joint=False),
    "Lumina2Transformer2DModel": Native((("layers", "num_layers"),), steps=30),
    "PixArtTransformer2DModel": Native(steps=20, guidance_scale=4.5, is_joint=False),
    "QwenImageTransformer2DModel": Native(pixels=1024, patch=2),
    "SanaTransformer2DModel": Native(steps=20, guidance_scale=4.5, is_joint=False),
    "ZImageTransformer2DModel": Native((("layers", "n_layers"),), guidance_scale=5.0, pixels=1024, patch=2),
}
"""By the class of the network."""


def native_size(native: Native, network: dict[str, Any], autoencoder: dict[str, Any]) -> tuple[int, int]:
    """Pixels a side of an image of the model's own size, and image tokens a side; from the configs."""
    latent = latent_scale(autoencoder)
    pixels = native.pixels or int(network["sample_size"]) * latent
    return pixels, pixels // (latent * (native.patch or int(network["patch_size"])))


def native_layers(native: Native, network: dict[str, Any], side: int) -> tuple[LayerChoice, LayerChoice]:
    """The layers that are read for the classes, and for self-attention.

    The mean of many layers beats any one of them; of a deep network that reads the text beside the image, every fourth
    is read, so that it costs little.
    """
    names = [f"{blocks}.{number}" for blocks, key in native.blocks for number in range(int(network[key]))]
    every = _EVERY if native.is_joint and len(names) >= _MANY_LAYERS else 1
    cross = tuple(names[every // 2 :: every]) if every > 1 else ("",)
    return LayerChoice(side, cross), LayerChoice(pooled_side(side), (names[len(names) // 2],))


def pooled_side(side: int) -> int:
    """The largest grid's side that divides ``side`` and is not too large for self-attention."""
    return next(side // pool for pool in range(1, side + 1) if side % pool == 0 and side // pool <= SELF_ATTENTION_SIDE)


def latent_scale(autoencoder: dict[str, Any]) -> int:
    """Pixels a side of one latent cell."""
    if "temperal_downsample" in autoencoder:
        return int(2 ** len(autoencoder["temperal_downsample"]))
    channels = autoencoder.get("block_out_channels") or autoencoder["encoder_block_out_channels"]
    return int(2 ** (len(channels) - 1))
