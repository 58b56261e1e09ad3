"""What everything outside a model family knows of a diffusion model: prompts in, images and attention out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from dataset_diffusion.config import CaptureSettings, ImageSettings
from dataset_diffusion.diffusion.pictures import fitting_size, resize_picture
from dataset_diffusion.diffusion.specs import GenerationPlan, ModelSpec
from dataset_diffusion.errors import PromptError
from dataset_diffusion.prompts.tokens import token_indices
from dataset_diffusion.reading import Reading
from dataset_diffusion.records import AttentionMaps, Generation, LayerMaps, Prompt


class DiffusionModel(ABC):
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

    def generate(
        self,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
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
            seeds: one per prompt; an image follows from its prompt and seed, not from its batch.
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
            ModelError: the model's numbers overflowed.
        """
        plan = self._plan(
            capture,
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            height=height,
            width=width,
        )
        self.check(prompts, plan)
        return self.generate_checked(prompts, seeds, plan)

    @abstractmethod
    def check(self, prompts: Sequence[Prompt], plan: GenerationPlan) -> None:
        """Refuse what cannot be generated, and compute nothing.

        Raises:
            ConfigError: an image size that does not fit the model, more steps than the model was trained with, or a
                negative prompt without guidance.
            PromptError: a text or class prompt longer than the tokenizer's limit, or a class word without a token.
            ModelError: the model has no attention of the chosen resolution.
        """

    @abstractmethod
    def generate_checked(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], plan: GenerationPlan
    ) -> list[Generation]:
        """Generate images of what ``check`` has found possible; otherwise as ``generate``."""

    @abstractmethod
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
        """

    @abstractmethod
    def attend_layers(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        reading: Reading,
    ) -> list[LayerMaps]:
        """`attend`, with every layer and head apart that a learned reading names."""

    @abstractmethod
    def cross_attention_heads(self) -> dict[str, int]:
        """Every cross-attention layer by name, and its number of heads."""

    def fit_picture(self, image: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """A picture of any size at one that fits the model, in its own proportions as far as that goes."""
        native = (self.spec.height, self.spec.width)
        return resize_picture(image, fitting_size(image.shape[0], image.shape[1], native, self.size_multiple))

    @property
    @abstractmethod
    def size_multiple(self) -> int:
        """What both sides of an image must be multiples of, in pixels."""

    def _plan(self, capture: CaptureSettings | Reading | None, **options: Any) -> GenerationPlan:
        # Not validated: a guidance scale of 0, as some models' own pages have it, turns guidance off too.
        chosen = capture if isinstance(capture, CaptureSettings) else CaptureSettings()
        plan = self.spec.resolve(ImageSettings.model_construct(capture=chosen, **options))
        return plan if isinstance(capture, CaptureSettings) else replace(plan, reading=capture)

    def _resolve(self, capture: CaptureSettings | Reading | None) -> Reading:
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
