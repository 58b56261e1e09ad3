"""Diffusion models with a UNet, wrapped once: everything after this file sees prompts in, images and attention out."""

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
from torch import Tensor

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.capture import AttentionCapture, choose_layers
from dataset_diffusion.diffusion.specs import ModelSpec, capture_choice
from dataset_diffusion.errors import ConfigError, ModelError, PromptError
from dataset_diffusion.prompts.tokens import token_indices
from dataset_diffusion.records import AttentionMaps, Generation, Prompt
from dataset_diffusion.seeding import sample_generator


class DiffusionModel:
    """A text-to-image diffusion model that can say where in the image it put each class.

    Attributes:
        spec: what is known of the model beyond its files.
        pipeline: the diffusers pipeline underneath.
    """

    def __init__(self, spec: ModelSpec, pipeline: Any) -> None:
        self.spec = spec
        self.pipeline = pipeline

    @property
    def device(self) -> torch.device:
        """Where the model computes, also while its parts wait on the CPU (offloading)."""
        return torch.device(self.pipeline._execution_device)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer by which class prompts are read."""
        return self.pipeline.tokenizer

    @cached_property
    def latent_scale(self) -> int:
        """Pixels a side of one latent cell."""
        return int(2 ** (len(self.pipeline.vae.config.block_out_channels) - 1))

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        capture: CaptureSettings | None = None,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
    ) -> list[Generation]:
        """Draw one image per prompt.

        Args:
            prompts: what to draw; the batch.
            seeds: one per prompt; an image follows from its prompt and seed, not from its batch.
            capture: which attention to read; None reads none.
            steps: denoising steps; None takes the spec's, as do the arguments below.
            guidance_scale: classifier-free guidance; 1 turns it off and halves the work.
            negative_prompt: what the images should not show; guidance is what keeps them from it.
            height: pixels, a multiple of ``latent_scale``.
            width: pixels, a multiple of ``latent_scale``.

        Returns:
            One per prompt. The image that the model's safety checker refuses is black, and its cross-attention zero: no
            class is in it.

        Raises:
            ConfigError, PromptError, ModelError: as for ``check``.
            ModelError: the model's numbers overflowed.
        """
        self.check(
            prompts,
            capture,
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            height=height,
            width=width,
        )
        height, width = height or self.spec.height, width or self.spec.width
        scale = self.spec.guidance_scale if guidance_scale is None else guidance_scale
        negative = self.spec.negative_prompt if negative_prompt is None else negative_prompt
        num_steps = steps or self.spec.num_inference_steps
        guided = self._is_guided(scale)
        reader: AbstractContextManager[AttentionCapture | None] = nullcontext()
        if capture is not None:
            calls = _calls_to_read(capture, self._num_calls(num_steps))
            reader = self._reader(prompts, capture, guided, self._latent_shape(height, width), calls)
        with reader as attention:
            output = self.pipeline(
                prompt=[prompt.text for prompt in prompts],
                num_inference_steps=num_steps,
                guidance_scale=scale,
                generator=[sample_generator(seed) for seed in seeds],
                height=height,
                width=width,
                output_type="np",
                **({"negative_prompt": [negative] * len(prompts)} if guided else {}),
            )
        pictures = _as_pixels(output.images)
        if capture is None or attention is None:
            return [Generation(picture, None) for picture in pictures]
        maps = attention.maps(self._token_positions(prompts, capture))
        for position in _refused(output):
            maps[position] = replace(maps[position], cross_attention=torch.zeros_like(maps[position].cross_attention))
        return [Generation(picture, found) for picture, found in zip(pictures, maps, strict=True)]

    def check(
        self,
        prompts: Sequence[Prompt],
        capture: CaptureSettings | None = None,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
    ) -> None:
        """Refuse what ``generate`` would refuse with the same arguments, and compute nothing.

        Raises:
            ConfigError: a size that is no multiple of ``latent_scale``, more steps than the model was trained with, or
                a negative prompt without guidance.
            PromptError: a text or class prompt longer than the tokenizer's limit, or a class word without a token.
            ModelError: the model has no attention of the chosen resolution.
        """
        self._latent_shape(height or self.spec.height, width or self.spec.width)
        schedule = self.pipeline.scheduler.config
        limit = schedule.get("original_inference_steps", schedule["num_train_timesteps"])
        if steps is not None and steps > limit:
            raise ConfigError("too many denoising steps", got=steps, expected=f"at most {limit}")
        scale = self.spec.guidance_scale if guidance_scale is None else guidance_scale
        if negative_prompt and not self._is_guided(scale):
            raise ConfigError(
                "a negative prompt does nothing without classifier-free guidance",
                got="a model distilled for guidance" if scale > 1 else f"guidance scale {scale:g}",
                expected="no negative prompt" if scale > 1 else "a scale above 1",
                fix="leave out --negative-prompt",
            )
        if capture is not None:
            for suffix, choice in zip(("attn2", "attn1"), capture_choice(self.spec, capture), strict=True):
                choose_layers(self.pipeline.unet, suffix, choice, self._native_shape)
            self._token_positions(prompts, capture)
        self._check_texts(prompts)

    @torch.inference_mode()
    def attend(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        capture: CaptureSettings | None = None,
        *,
        timesteps: Sequence[int] | None = None,
    ) -> list[AttentionMaps]:
        """Read the attention of given images: encode them, add noise, and let the UNet look at them once per timestep.

        Args:
            images: uint8 RGB of one size, both sides multiples of ``latent_scale``.
            prompts: one per image.
            seeds: one per image, for the noise.
            capture: which attention to read; None takes the spec's choice. Its ``steps`` and ``every`` are for drawing.
            timesteps: noise levels, in training timesteps; None takes the spec's.

        Raises:
            ConfigError, PromptError, ModelError: as for ``check``.
        """
        capture = capture or CaptureSettings()
        self.check(prompts, capture, height=images[0].shape[0], width=images[0].shape[1])
        latents = self._encode_images(images)
        noise = torch.cat([torch.randn(1, *latents.shape[1:], generator=sample_generator(seed)) for seed in seeds])
        noise = noise.to(latents)
        scheduler = DDIMScheduler.from_config(self.pipeline.scheduler.config)
        text, extra = self._encode_texts([prompt.text for prompt in prompts], images[0].shape[:2])
        with self._reader(prompts, capture, guided=False, latent_shape=tuple(latents.shape[2:])) as attention:
            for timestep in timesteps or self.spec.attend_timesteps:
                step = torch.full((len(images),), timestep, device=latents.device)
                noisy = scheduler.add_noise(latents, noise, step)
                self.pipeline.unet(noisy, step, text, added_cond_kwargs=extra)
        return attention.maps(self._token_positions(prompts, capture))

    def _reader(
        self,
        prompts: Sequence[Prompt],
        capture: CaptureSettings,
        guided: bool,
        latent_shape: tuple[int, ...],
        calls: Container[int] | None = None,
    ) -> AttentionCapture:
        texts = [prompt.class_prompt if capture.prompt == "class" else prompt.text for prompt in prompts]
        cross_attention, self_attention = capture_choice(self.spec, capture)
        return AttentionCapture(
            self.pipeline.unet,
            self._encode_texts(texts, (self.spec.height, self.spec.width))[0],
            cross_attention=cross_attention,
            self_attention=self_attention,
            guided=guided,
            latent_shape=(latent_shape[0], latent_shape[1]),
            native_shape=self._native_shape,
            calls=calls,
        )

    def _is_guided(self, scale: float) -> bool:
        """Whether every call of the UNet has an unconditional half, which the negative prompt is for."""
        # A model distilled for guidance (LCM) takes the scale as an input: its batch is not doubled.
        return scale > 1 and self.pipeline.unet.config.time_cond_proj_dim is None

    @property
    def _native_shape(self) -> tuple[int, int]:
        return self.spec.height // self.latent_scale, self.spec.width // self.latent_scale

    def _num_calls(self, steps: int) -> int:
        """How often the UNet is called; some schedulers call it once more than there are steps."""
        self.pipeline.scheduler.set_timesteps(steps)
        return len(self.pipeline.scheduler.timesteps)

    def _token_positions(self, prompts: Sequence[Prompt], capture: CaptureSettings) -> list[list[list[int]]]:
        """Positions of every class's tokens, in the class prompt or among the class words that end the text prompt."""
        positions = []
        for prompt in prompts:
            found = token_indices(self.tokenizer, prompt.class_prompt, list(prompt.class_words))
            if capture.prompt == "text":
                shift = self._num_tokens(prompt.text) - self._num_tokens(prompt.class_prompt)
                found = [[position + shift for position in word] for word in found]
            positions.append(found)
        return positions

    def _check_texts(self, prompts: Sequence[Prompt]) -> None:
        limit = self.tokenizer.model_max_length
        for prompt in prompts:
            length = self._num_tokens(prompt.text)
            if length > limit:  # the class words at its end would be cut off
                raise PromptError(
                    "the text prompt is longer than the tokenizer's limit",
                    got=f"{length} tokens in prompt {prompt.index}, {prompt.text!r}",
                    expected=f"at most {limit}, special tokens counted",
                    fix="shorten its caption",
                )

    def _num_tokens(self, text: str) -> int:
        return len(self.tokenizer(text).input_ids)

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


def _as_pixels(images: Float[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b h w 3"]:
    if not np.isfinite(images).all():  # as uint8 they would be black
        raise ModelError(
            "the model's numbers overflowed", got="images that are not finite", fix="--dtype bfloat16 or float32"
        )
    return (images * 255).round().astype(np.uint8)


def _refused(output: Any) -> list[int]:
    """Positions in the batch of the images that the pipeline's safety checker, where it has one, made black."""
    verdicts = getattr(output, "nsfw_content_detected", None) or []
    return [position for position, refused in enumerate(verdicts) if refused]


def _calls_to_read(capture: CaptureSettings, num_calls: int) -> range:
    half = (num_calls + 1) // 2  # an odd call in the middle belongs to both halves
    first, after = {"all": (0, num_calls), "first-half": (0, half), "last-half": (num_calls - half, num_calls)}[
        capture.steps
    ]
    return range(first, after, capture.every)
