"""Diffusion models with a UNet: Stable Diffusion and its kin."""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.capture import AttentionCapture, AttentionLayers
from dataset_diffusion.diffusion.learned import read_layers
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.specs import GenerationPlan
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.reading import LayerChoice, Reading
from dataset_diffusion.records import AttentionMaps, Generation, LayerMaps, Prompt
from dataset_diffusion.seeding import sample_generator


class UNetModel(DiffusionModel):
    """A diffusion model whose pipeline has a UNet, an autoencoder and one or two CLIP text encoders."""

    @cached_property
    def latent_scale(self) -> int:
        """Pixels a side of one latent cell."""
        return int(2 ** (len(self.pipeline.vae.config.block_out_channels) - 1))

    @property
    def size_multiple(self) -> int:
        """As the base class says."""
        return self.latent_scale

    def check(self, prompts: Sequence[Prompt], plan: GenerationPlan) -> None:
        """As the base class says; an image size fits if it is a multiple of ``latent_scale``."""
        self._latent_shape(plan.height, plan.width)
        schedule = self.pipeline.scheduler.config
        limit = schedule.get("original_inference_steps", schedule["num_train_timesteps"])
        if plan.steps > limit:
            raise ConfigError("too many denoising steps", got=plan.steps, expected=f"at most {limit}")
        if plan.negative_prompt and not self._is_guided(plan.guidance_scale):
            raise _useless_negative_prompt(plan.guidance_scale)
        if plan.reading is not None:
            self._layers(plan.reading, self._native_shape)
            self._token_positions(prompts, plan.reading.prompt)
        self._check_texts(prompts)

    @torch.inference_mode()
    def generate_checked(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], plan: GenerationPlan
    ) -> list[Generation]:
        """As the base class says."""
        guided, reading = self._is_guided(plan.guidance_scale), plan.reading
        reader: AbstractContextManager[AttentionCapture | None] = nullcontext()
        if reading is not None and reading.when == "drawing":
            self.pipeline.scheduler.set_timesteps(plan.steps)
            # Some schedulers call the UNet once more than there are steps.
            calls = _calls_to_read(reading, num_calls=len(self.pipeline.scheduler.timesteps))
            reader = self._reader(prompts, reading, guided, self._latent_shape(plan.height, plan.width), calls)
        with reader as attention:
            output = self.pipeline(
                prompt=[prompt.text for prompt in prompts],
                num_inference_steps=plan.steps,
                guidance_scale=plan.guidance_scale,
                generator=[sample_generator(seed) for seed in seeds],
                height=plan.height,
                width=plan.width,
                output_type="np",
                **({"negative_prompt": [plan.negative_prompt] * len(prompts)} if guided else {}),
            )
        pictures = _as_pixels(output.images)
        if reading is None:
            return [Generation(picture, None) for picture in pictures]
        maps = self.attend(list(pictures), prompts, seeds, reading) if attention is None else _read(attention, reading)
        # The pipeline's safety checker, where there is one, makes images black.
        for position, refused in enumerate(getattr(output, "nsfw_content_detected", None) or ()):
            if refused:
                nothing = torch.zeros_like(maps[position].cross_attention)
                maps[position] = replace(maps[position], cross_attention=nothing)
        return [Generation(picture, found) for picture, found in zip(pictures, maps, strict=True)]

    def attend(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        capture: CaptureSettings | Reading | None = None,
        *,
        timesteps: Sequence[int] | None = None,
    ) -> list[AttentionMaps]:
        """As the base class says; both sides of the images are multiples of ``latent_scale``."""
        reading = self._resolve(capture)
        return _read(self._look_at(images, prompts, seeds, reading, timesteps or reading.timesteps), reading)

    def attend_layers(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        reading: Reading,
    ) -> list[LayerMaps]:
        """As the base class says."""
        return self._look_at(images, prompts, seeds, reading, reading.timesteps).layer_maps()

    def cross_attention_heads(self) -> dict[str, int]:
        """As the base class says."""
        unet = self.pipeline.unet
        return {name: int(unet.get_submodule(name).heads) for name in _attention_layers(unet, "attn2")}

    @torch.inference_mode()
    def _look_at(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        reading: Reading,
        timesteps: Sequence[int],
    ) -> AttentionCapture:
        """Encode images, add noise, and call the UNet once per noise level."""
        height, width, _ = images[0].shape
        self.check(prompts, self._plan(reading, height=height, width=width))
        latents = self._encode_images(images)
        noise = torch.cat([torch.randn(1, *latents.shape[1:], generator=sample_generator(seed)) for seed in seeds])
        noise = noise.to(latents)
        scheduler = DDIMScheduler.from_config(self.pipeline.scheduler.config)
        text, extra = self._encode_texts([prompt.text for prompt in prompts], (height, width))
        with self._reader(prompts, reading, False, self._latent_shape(height, width)) as attention:
            for timestep in timesteps:
                step = torch.full((len(images),), timestep, device=latents.device)
                noisy = scheduler.add_noise(latents, noise, step)
                self.pipeline.unet(noisy, step, text, added_cond_kwargs=extra)
        return attention

    def _reader(
        self,
        prompts: Sequence[Prompt],
        reading: Reading,
        guided: bool,
        latent_shape: tuple[int, int],
        calls: Container[int] | None = None,
    ) -> AttentionCapture:
        texts = [prompt.class_prompt if reading.prompt == "class" else prompt.text for prompt in prompts]
        states, _ = self._encode_texts(texts, (self.spec.height, self.spec.width))
        cross, own = self._layers(reading, latent_shape)
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
        there = self.cross_attention_heads()
        for name, heads in zip(reading.cross_attention.layers, reading.cross_attention.heads, strict=True):
            if heads not in (1, there.get(name)):
                raise ModelError(
                    "the reading is for another model",
                    got=f"{heads} heads of the layer {name}",
                    expected=f"{there.get(name) or 'one'} of {', '.join(there)}",
                    fix="dataset-diffusion calibrate learns one for this model",
                )
        return {name: grids[_block_of(name)] for name in reading.cross_attention.layers}, own

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

    def _encode_images(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float[Tensor, "b c latent_h latent_w"]:
        autoencoder = self.pipeline.vae
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.device, autoencoder.dtype) / 127.5 - 1
        latents: Tensor = retrieve_latents(autoencoder.encode(pixels), sample_mode="argmax")
        return latents * float(autoencoder.config.scaling_factor)

    def _latent_shape(self, height: int, width: int) -> tuple[int, int]:
        scale = self.latent_scale
        if height % scale or width % scale:
            raise ConfigError(
                "the image size does not fit the model",
                got=f"{height}x{width} pixels",
                expected=f"height and width that are multiples of {scale}",
                fix=f"use {max(height // scale, 1) * scale}x{max(width // scale, 1) * scale}",
            )
        return height // scale, width // scale


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


def _read(attention: AttentionCapture, reading: Reading) -> list[AttentionMaps]:
    learned = reading.cross_attention
    if isinstance(learned, LayerChoice):
        return attention.maps()
    return [read_layers(maps, learned) for maps in attention.layer_maps()]


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


def _useless_negative_prompt(scale: float) -> ConfigError:
    return ConfigError(
        "a negative prompt does nothing without classifier-free guidance",
        got="a model distilled for guidance" if scale > 1 else f"guidance scale {scale:g}",
        expected="no negative prompt" if scale > 1 else "a scale above 1",
        fix="leave out --negative-prompt",
    )


def _as_pixels(images: Float[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b h w 3"]:
    if not np.isfinite(images).all():  # as uint8 they would be black
        raise ModelError(
            "the model's numbers overflowed", got="images that are not finite", fix="--dtype bfloat16 or float32"
        )
    return (images * 255).round().astype(np.uint8)


def _calls_to_read(reading: Reading, num_calls: int) -> range:
    half = (num_calls + 1) // 2  # an odd call in the middle belongs to both halves
    first, after = {"all": (0, num_calls), "first-half": (0, half), "last-half": (num_calls - half, num_calls)}[
        reading.steps
    ]
    return range(first, after, reading.every)
