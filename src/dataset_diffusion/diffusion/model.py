"""What everything outside a model family knows of a diffusion model: prompts in, images and attention out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dataset_diffusion.config import CaptureSettings, ImageSettings
from dataset_diffusion.diffusion.arguments import check_capture, check_looked_at, check_prompts, check_seeds
from dataset_diffusion.diffusion.capture import AttentionReader
from dataset_diffusion.diffusion.learned import read_layers
from dataset_diffusion.diffusion.pictures import fitting_size, resize_picture
from dataset_diffusion.diffusion.specs import MODELS, GenerationPlan, ModelSpec, pipeline_spec
from dataset_diffusion.disk.pictures import check_picture
from dataset_diffusion.errors import ConfigError, ModelError, PromptError, check_kind
from dataset_diffusion.prompts.tokens import token_indices
from dataset_diffusion.reading import LayerChoice, LearnedLayers, Reading
from dataset_diffusion.records import AttentionMaps, Generation, LayerMaps, Prompt
from dataset_diffusion.seeding import sample_generator, sample_seed


class DiffusionModel(ABC):
    """A text-to-image diffusion model that can say where in the image it put each class.

    Attributes:
        spec: what is known of the model beyond its files.
        pipeline: the diffusers pipeline underneath.
    """

    def __init__(self, spec: ModelSpec, pipeline: Any) -> None:
        self.spec = spec
        self.pipeline = pipeline

    def __repr__(self) -> str:
        size = f"{self.spec.width} x {self.spec.height} pixels"
        name = next((name for name, row in MODELS.items() if row.path == self.spec.path), self.spec.path)
        return f"<{type(self).__name__} {name}: {size}, {self.pipeline.dtype} on {self.device}>"

    @staticmethod
    def from_pipeline(pipeline: Any, spec: ModelSpec | None = None) -> DiffusionModel:
        """A pipeline that you have loaded and changed yourself (adapters, embeddings, scheduler, precision).

        Args:
            pipeline: of diffusers, with a UNet or a transformer of a known family.
            spec: layers, size, steps and guidance; None takes what its own configs say.

        Raises:
            ModelError: no pipeline, or its network is of no known family.
        """
        if not hasattr(pipeline, "components"):
            fix = "load one by DiffusionPipeline.from_pretrained"
            raise ModelError("not a diffusers pipeline", got=repr(pipeline), fix=fix)
        kind = next(kind for kind in DiffusionModel.__subclasses__() if kind.takes(pipeline))
        return kind(spec or pipeline_spec(pipeline), pipeline)

    @classmethod
    @abstractmethod
    def takes(cls, pipeline: Any) -> bool:
        """Whether the pipeline is of this kind, as far as a look tells."""

    @property
    def device(self) -> torch.device:
        """Where the model computes, also while its parts wait on the CPU (offloading)."""
        return torch.device(self.pipeline._execution_device)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer by which class prompts are read."""
        return self.pipeline.tokenizer

    @property
    def class_limit(self) -> int:
        """Tokens that a class prompt may have, special ones counted."""
        return int(self.tokenizer.model_max_length)

    def generate(
        self,
        prompts: Sequence[Prompt],
        seeds: Sequence[int] | None = None,
        capture: CaptureSettings | Reading | None = None,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
    ) -> list[Generation]:
        """Generate one image per prompt.

        Args:
            prompts: what the images show; the batch.
            seeds: one per prompt; an image follows from its prompt and seed, not from its batch. None takes those of a
                dataset of seed 0.
            capture: which attention to read, or a reading; None reads none.
            steps: denoising steps; None takes the spec's, as do the arguments below.
            guidance_scale: classifier-free guidance; 1 turns it off and halves the work.
            negative_prompt: what the images should not show; guidance is what keeps them from it.
            height: pixels.
            width: pixels.

        Returns:
            One per prompt. The image that the model's safety checker refuses is black, and its cross-attention zero: no
            class is in it.

        Raises:
            ConfigError, PromptError, ModelError: as for ``check``.
            ConfigError: an option is out of range, or there is not one seed per prompt.
            PromptError: captions in the place of prompts.
            ModelError: the model's numbers overflowed.
        """
        check_prompts(prompts)
        seeds = [sample_seed(0, prompt.index) for prompt in prompts] if seeds is None else seeds
        check_seeds(seeds, prompts)
        plan = self._plan(
            capture,
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            height=height,
            width=width,
        )
        self.check(prompts, plan)
        return self.generate_checked(prompts, seeds, plan) if prompts else []

    def check(self, prompts: Sequence[Prompt], plan: GenerationPlan) -> None:
        """Refuse what cannot be generated, and compute nothing.

        Raises:
            ConfigError: an image size that does not fit the model, more steps than the model was trained with, or a
                negative prompt without guidance.
            PromptError: a text or class prompt longer than the tokenizer's limit, or a class word without a token.
            ModelError: the model has no attention of the chosen resolution.
        """
        _check_size(plan.height, plan.width, self.size_multiple)
        schedule = self.pipeline.scheduler.config
        limit = schedule.get("original_inference_steps", schedule["num_train_timesteps"])
        if plan.steps > limit:
            raise ConfigError("too many denoising steps", got=plan.steps, expected=f"at most {limit}")
        if plan.negative_prompt and not self._is_guided(plan.guidance_scale):
            raise _useless_negative_prompt(plan.guidance_scale)
        if plan.reading is not None:
            self._check_layers(plan.reading)
            self._token_positions(prompts, plan.reading.prompt)
        self._check_texts(prompts)

    @torch.inference_mode()
    def generate_checked(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], plan: GenerationPlan
    ) -> list[Generation]:
        """Generate images of what ``check`` has found possible; otherwise as ``generate``."""
        guided, reading, size = self._is_guided(plan.guidance_scale), plan.reading, (plan.height, plan.width)
        reader: AbstractContextManager[AttentionReader | None] = nullcontext()
        if reading is not None and reading.when == "drawing":
            reader = self._reader(prompts, reading, guided, size, calls_to_read(reading, self._num_calls(plan.steps)))
        with reader as attention:
            output = self.pipeline(
                prompt=[prompt.text for prompt in prompts],
                num_inference_steps=plan.steps,
                generator=[sample_generator(seed) for seed in seeds],
                height=plan.height,
                width=plan.width,
                output_type="np",
                **self._options(plan.guidance_scale, [plan.negative_prompt] * len(prompts), plan.steps),
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
        """Read the attention of given images: encode them, add noise, and let the model look at them once per timestep.

        Args:
            images: uint8 RGB of one size that fits the model.
            prompts: one per image.
            seeds: one per image, for the noise.
            capture: which attention to read, or a reading; None takes the spec's choice. ``steps`` and ``every`` are
                for generating.
            timesteps: noise levels, in training timesteps; None takes the reading's.

        Raises:
            ConfigError, PromptError, ModelError: as for ``check``.
            ConfigError: images of another kind or of several sizes, or not one image and seed per prompt.
            PromptError: captions in the place of prompts.
        """
        check_looked_at(images, prompts, seeds)
        if not prompts:
            return []
        reading = self._resolve(capture)
        return _read(self._look_at(images, prompts, seeds, reading, timesteps or reading.timesteps), reading)

    def attend_layers(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        reading: Reading,
    ) -> list[LayerMaps]:
        """`attend`, with every layer and head apart that a learned reading names."""
        return self._look_at(images, prompts, seeds, reading, reading.timesteps).layer_maps()

    @abstractmethod
    def cross_attention_heads(self) -> dict[str, int]:
        """Every cross-attention layer by name, and its number of heads."""

    @torch.inference_mode()
    def _look_at(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        reading: Reading,
        timesteps: Sequence[int],
    ) -> AttentionReader:
        """Encode images, add noise, and call the network once per noise level."""
        height, width, _ = images[0].shape
        self.check(prompts, self._plan(reading, height=height, width=width))
        dtype = self.pipeline.vae.dtype
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.device, dtype) / 127.5 - 1
        latents = self._encode_images(pixels)
        noise = torch.cat([torch.randn(1, *latents.shape[1:], generator=sample_generator(seed)) for seed in seeds])
        noise = noise.to(latents)
        call_network = self._network_call(prompts, seeds, (height, width))
        with self._reader(prompts, reading, False, (height, width)) as attention:
            for timestep in timesteps:
                call_network(self._noisy(latents, noise, timestep), timestep)
        return attention

    @abstractmethod
    def _encode_images(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c latent_h latent_w"]:
        """Latents of images in [-1, 1], as the pipeline denoises them."""

    @abstractmethod
    def _noisy(self, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
        """Latents at a noise level, in training timesteps."""

    @abstractmethod
    def _network_call(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], size: tuple[int, int]
    ) -> Callable[[Tensor, int], object]:
        """What calls the network for the text prompts: with noisy latents of images of a size, and their timestep."""

    @abstractmethod
    def _reader(
        self,
        prompts: Sequence[Prompt],
        reading: Reading,
        guided: bool,
        size: tuple[int, int],
        calls: Container[int] | None = None,
    ) -> AttentionReader:
        """What reads the calls of the network that draw images of a size (height, width) in pixels."""

    @abstractmethod
    def _check_layers(self, reading: Reading) -> None:
        """Raise a ModelError where the model has not the layers of a reading."""

    @abstractmethod
    def _is_guided(self, scale: float) -> bool:
        """Whether the network is called for the negative prompt too."""

    @abstractmethod
    def _num_calls(self, steps: int) -> int:
        """Calls of the network for the text prompt in so many steps."""

    @abstractmethod
    def _options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """What the pipeline is told beside prompts, seeds and size, of guidance above all."""

    def _check_heads(self, layers: LearnedLayers) -> None:
        there = self.cross_attention_heads()
        for name, heads in zip(layers.layers, layers.heads, strict=True):
            if heads not in (1, there.get(name)):
                raise ModelError(
                    "the reading is for another model",
                    got=f"{heads} heads of the layer {name}",
                    expected=f"{there.get(name) or 'one'} of {', '.join(there)}",
                    fix="dataset-diffusion calibrate learns one for this model",
                )

    def fit_picture(self, image: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """A picture of any size at one that fits the model, in its own proportions as far as that goes.

        Raises:
            ConfigError: not a uint8 RGB array.
        """
        check_picture(image)
        native = (self.spec.height, self.spec.width)
        return resize_picture(image, fitting_size(image.shape[0], image.shape[1], native, self.size_multiple))

    @property
    @abstractmethod
    def size_multiple(self) -> int:
        """What both sides of an image must be multiples of, in pixels."""

    def _plan(self, capture: CaptureSettings | Reading | None, **options: Any) -> GenerationPlan:
        check_capture(capture)
        chosen = capture if isinstance(capture, CaptureSettings) else CaptureSettings()
        scale = options.pop("guidance_scale", None)
        check_kind(scale, (Real, type(None)), "guidance scale")
        # Not validated: a guidance scale of 0, as some models' own pages have it, turns guidance off too.
        asked = ImageSettings(capture=chosen, **options).model_copy(update={"guidance_scale": scale})
        plan = self.spec.resolve(asked)
        return plan if isinstance(capture, CaptureSettings) else replace(plan, reading=capture)

    def _resolve(self, capture: CaptureSettings | Reading | None) -> Reading:
        check_capture(capture)
        if isinstance(capture, Reading):
            return capture
        return self.spec.resolve_reading(capture=capture or CaptureSettings())

    def _token_positions(self, prompts: Sequence[Prompt], of: str) -> list[list[list[int]]]:
        """Positions of every class's tokens, in the ``class`` prompt or among the class words that end the ``text``."""
        positions = []
        for prompt in prompts:
            found = token_indices(self.tokenizer, prompt.class_prompt, list(prompt.class_words))
            if of == "text":
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


def calls_to_read(reading: Reading, num_calls: int) -> range:
    half = (num_calls + 1) // 2  # an odd call in the middle belongs to both halves
    first, after = {"all": (0, num_calls), "first-half": (0, half), "last-half": (num_calls - half, num_calls)}[
        reading.steps
    ]
    return range(first, after, reading.every)


def _read(attention: AttentionReader, reading: Reading) -> list[AttentionMaps]:
    learned = reading.cross_attention
    if isinstance(learned, LayerChoice):
        return attention.maps()
    return [read_layers(maps, learned) for maps in attention.layer_maps()]


def _check_size(height: int, width: int, multiple: int) -> None:
    if height % multiple or width % multiple:
        raise ConfigError(
            "the image size does not fit the model",
            got=f"{height}x{width} pixels",
            expected=f"height and width that are multiples of {multiple}",
            fix=f"use {max(height // multiple, 1) * multiple}x{max(width // multiple, 1) * multiple}",
        )


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
