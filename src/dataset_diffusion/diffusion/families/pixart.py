"""PixArt-Alpha and PixArt-Sigma: the image attends to T5's text in a layer of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream


class PixArt(Family):
    """Text in small letters, masked."""

    attention = (("transformer_blocks", "attn2"),)
    self_attention = "attn1"

    @property
    def text_limit(self) -> int:
        """As the base class says: Alpha's is shorter."""
        return 120 if "Alpha" in type(self.pipeline).__name__ else 300

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """As the base class says."""
        more = {"clean_caption": False, "use_resolution_binning": False, "max_sequence_length": self.text_limit}
        return super().options(scale, negative_prompts, steps) | more

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says."""
        states, mask, *_ = self.pipeline.encode_prompt(
            texts, do_classifier_free_guidance=False, max_sequence_length=length
        )
        return Texts(states, mask.bool())

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        yield TextStream(self.tokenizer, text.lower().strip(), length)

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says."""
        return self.network.caption_projection(texts.states), None
