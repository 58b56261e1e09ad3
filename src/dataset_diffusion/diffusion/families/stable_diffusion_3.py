"""Stable Diffusion 3 and 3.5: image and text attend to one another in every block (MM-DiT)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Family, Texts, TextStream


class StableDiffusion3(Family):
    """The text is that of two CLIP encoders side by side, then T5's where the pipeline has it."""

    image_first = True
    text_limit = 256

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """As the base class says."""
        return super().options(scale, negative_prompts, steps) | {"max_sequence_length": self.text_limit}

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says."""
        states, *_ = self.pipeline.encode_prompt(
            texts, None, None, do_classifier_free_guidance=False, max_sequence_length=length
        )
        return Texts(states)

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        clip = self.pipeline.tokenizer_max_length
        yield TextStream(self.pipeline.tokenizer, text, clip)
        if self.pipeline.text_encoder_3 is not None:
            yield TextStream(self.pipeline.tokenizer_3, text, length, shift=clip)
