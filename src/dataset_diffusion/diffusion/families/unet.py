"""Diffusion models with a UNet: Stable Diffusion and its kin."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import cached_property
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from jaxtyping import Float
from torch import Tensor, nn

from dataset_diffusion.diffusion.capture import AttentionCapture, AttentionLayers
from dataset_diffusion.diffusion.families.base import diffused
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.errors import ModelError
from dataset_diffusion.reading import LayerChoice, Reading
from dataset_diffusion.records import Prompt


class UNetModel(DiffusionModel):
    """A diffusion model whose pipeline has a UNet, an autoencoder and one or two CLIP text encoders."""

    @classmethod
    def takes(cls, pipeline: Any) -> bool:
        """As the base class says."""
        return hasattr(pipeline, "unet")

    @cached_property
    def latent_scale(self) -> int:
        """Pixels a side of one latent cell."""
        return int(2 ** (len(self.pipeline.vae.config.block_out_channels) - 1))

    @property
    def size_multiple(self) -> int:
        """As the base class says."""
        return self.latent_scale

    def cross_attention_heads(self) -> dict[str, int]:
        """As the base class says."""
        unet = self.pipeline.unet
        return {name: int(unet.get_submodule(name).heads) for name in _attention_layers(unet, "attn2")}

    def _noisy(self, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
        return diffused(self.pipeline.scheduler.config, latents, noise, timestep)

    def _network_call(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], size: tuple[int, int]
    ) -> Callable[[Tensor, int], object]:
        text, extra = self._encode_texts([prompt.text for prompt in prompts], size)

        def call(noisy: Tensor, timestep: int) -> None:
            steps = torch.full((len(noisy),), timestep, device=noisy.device)
            self.pipeline.unet(noisy, steps, text, added_cond_kwargs=extra)

        return call

    def _reader(
        self,
        prompts: Sequence[Prompt],
        reading: Reading,
        guided: bool,
        size: tuple[int, int],
        calls: Container[int] | None = None,
    ) -> AttentionCapture:
        texts = [prompt.class_prompt if reading.prompt == "class" else prompt.text for prompt in prompts]
        states, _ = self._encode_texts(texts, (self.spec.height, self.spec.width))
        cross, own = self._layers(reading, self._latent_shape(*size))
        return AttentionCapture(
            self.pipeline.unet,
            states,
            cross_attention=cross,
            self_attention=own,
            token_positions=self._token_positions(prompts, reading.prompt),
            guided=guided,
            calls=calls,
        )

    def _layers(
        self, reading: Reading, latent_shape: tuple[int, int]
    ) -> tuple[AttentionLayers | dict[str, tuple[int, int]], AttentionLayers]:
        """The cross- and the self-attention layers to read."""
        unet, native = self.pipeline.unet, self._native_shape
        own = choose_layers(unet, "attn1", reading.self_attention, native, latent_shape)
        if isinstance(reading.cross_attention, LayerChoice):
            return choose_layers(unet, "attn2", reading.cross_attention, native, latent_shape), own
        grids = _block_grids(unet, latent_shape)
        self._check_heads(reading.cross_attention)
        return {name: grids[_block_of(name)] for name in reading.cross_attention.layers}, own

    def _check_layers(self, reading: Reading) -> None:
        self._layers(reading, self._native_shape)

    def _num_calls(self, steps: int) -> int:
        self.pipeline.scheduler.set_timesteps(steps)
        return len(self.pipeline.scheduler.timesteps)  # some schedulers call the UNet once more than there are steps

    def _options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        negative = {"negative_prompt": negative_prompts} if self._is_guided(scale) else {}
        return {"guidance_scale": scale, **negative}

    def _is_guided(self, scale: float) -> bool:
        """Whether every call of the UNet has an unconditional half, which the negative prompt is for."""
        # A model distilled for guidance (LCM) takes the scale as an input: its batch is not doubled.
        return scale > 1 and self.pipeline.unet.config.time_cond_proj_dim is None

    @property
    def _native_shape(self) -> tuple[int, int]:
        return self.spec.height // self.latent_scale, self.spec.width // self.latent_scale

    def _encode_texts(self, texts: list[str], size: tuple[int, ...]) -> tuple[Float[Tensor, "b tokens width"], Any]:
        """Text-encoder states, and what SDXL's UNet wants beside them (None for the others)."""
        encoded = self.pipeline.encode_prompt(
            prompt=texts, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        if not hasattr(self.pipeline, "_get_add_time_ids"):
            return encoded[0], None
        states, _, pooled, _ = encoded
        size_ids = torch.tensor([[*size, 0, 0, *size]], dtype=states.dtype, device=states.device)
        return states, {"text_embeds": pooled, "time_ids": size_ids.repeat(len(texts), 1)}

    def _encode_images(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c latent_h latent_w"]:
        autoencoder = self.pipeline.vae
        latents: Tensor = retrieve_latents(autoencoder.encode(pixels), sample_mode="argmax")
        return latents * float(autoencoder.config.scaling_factor)

    def _latent_shape(self, height: int, width: int) -> tuple[int, int]:
        return height // self.latent_scale, width // self.latent_scale


def choose_layers(
    unet: nn.Module,
    suffix: str,
    choice: LayerChoice,
    native_shape: tuple[int, int],
    latent_shape: tuple[int, int] | None = None,
) -> AttentionLayers:
    """The attention layers that a choice takes: of one resolution, hence of one grid.

    Args:
        unet: the diffusers UNet.
        suffix: ``attn1`` (self) or ``attn2`` (cross).
        choice: resolution and names.
        native_shape: (h, w) of the latents at the model's own image size, by which layers have their resolutions.
        latent_shape: (h, w) of the latents at the size of the images; None takes ``native_shape``.

    Raises:
        ModelError: the model has no such layer; the message lists the resolutions and blocks it has.
    """
    resolutions = {block: min(grid) for block, grid in _block_grids(unet, native_shape).items()}
    names = _attention_layers(unet, suffix)
    chosen = [
        name for name in names if resolutions[_block_of(name)] == choice.resolution and name.startswith(choice.prefixes)
    ]
    if not chosen:
        there = sorted({f"{resolutions[_block_of(name)]} in {_block_of(name)}" for name in names})
        kind = "self" if suffix == "attn1" else "cross"
        raise ModelError(
            f"the model has no {kind}-attention layer of that resolution and name",
            got=f"{choice.resolution} in {', '.join(choice.prefixes) or 'any block'}",
            expected=f"one of {'; '.join(there)}",
        )
    grids = _block_grids(unet, latent_shape or native_shape)
    return AttentionLayers(tuple(chosen), grids[_block_of(chosen[0])])


def _attention_layers(unet: nn.Module, suffix: str) -> list[str]:
    return [name for name, _ in unet.named_modules() if name.endswith(f".{suffix}")]


def _block_of(layer_name: str) -> str:
    """``up_blocks.1.attentions.0...`` -> ``up_blocks.1``; ``mid_block.attentions...`` -> ``mid_block``."""
    parts = layer_name.split(".")
    return parts[0] if parts[0] == "mid_block" else ".".join(parts[:2])


def _block_grids(unet: Any, latent_shape: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Grid of every block. Each down block but the last halves it, rounding up."""
    grids = [latent_shape]
    for _ in unet.down_blocks[1:]:
        height, width = grids[-1]
        grids.append(((height + 1) // 2, (width + 1) // 2))
    down = {f"down_blocks.{i}": grid for i, grid in enumerate(grids)}
    up = {f"up_blocks.{i}": grid for i, grid in enumerate(reversed(grids))}
    return {**down, "mid_block": grids[-1], **up}
