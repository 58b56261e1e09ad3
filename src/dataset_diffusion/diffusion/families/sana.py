"""SANA and SANA-Sprint: the image attends to Gemma's text, and by linear attention to itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream


class Sana(Family):
    """The text prompt stands after an instruction, of which only the end is kept."""

    attention = (("transformer_blocks", "attn2"),)
    self_attention = "attn1"
    linear = True
    text_limit = 300
    fewest_steps = 2

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """As the base class says; Sprint has a time of its own for the middle of two steps."""
        sprint = {"intermediate_timesteps": None} if self.takes_scale and steps != 2 else {}
        return super().options(scale, negative_prompts, steps) | {"use_resolution_binning": False, **sprint}

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says; without the instruction."""
        guidance = {} if self.takes_scale else {"do_classifier_free_guidance": False}
        states, mask, *_ = self.pipeline.encode_prompt(texts, max_sequence_length=length, **guidance)
        return Texts(states, mask.bool())

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        yield TextStream(self.tokenizer, text.lower().strip(), length)

    def drawn_streams(self, text: str) -> Iterator[TextStream]:
        """As the base class says."""
        parameters = inspect.signature(self.pipeline.__call__).parameters
        instruction = "\n".join(parameters["complex_human_instruction"].default)
        dropped = len(self.tokenizer.encode(instruction)) - 2
        limit = dropped + self.text_limit
        yield TextStream(self.tokenizer, text.lower().strip(), limit, shift=-dropped, before=instruction)

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says."""
        return self.network.caption_norm(self.network.caption_projection(texts.states)), None

    def encode_images(self, pixels: Tensor) -> Tensor:
        """As the base class says."""
        latents: Tensor = self.pipeline.vae.encode(pixels).latent
        return latents * float(self.pipeline.vae.config.scaling_factor)

    def time(self, timestep: int) -> float:
        """As the base class says; Sprint's runs from 0 to 1."""
        return timestep / 1000 if self.takes_scale else timestep * float(self.network.config.timestep_scale)
