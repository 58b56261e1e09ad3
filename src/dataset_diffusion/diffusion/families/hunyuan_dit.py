"""HunyuanDiT: the image attends to CLIP's and T5's text in a layer of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream


class HunyuanDiT(Family):
    """Both texts are filled up to their whole length by a vector that was learned, so nothing is masked."""

    attention = (("blocks", "attn2"),)
    self_attention = "attn1"

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """As the base class says."""
        return super().options(scale, negative_prompts, steps) | {"use_resolution_binning": False}

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says."""
        states, masks = zip(*(self._encode(texts, which) for which in (0, 1)), strict=True)
        tokens = torch.cat([states[0], self.network.text_embedder(states[1])], 1)
        seen = torch.cat(masks, 1)[..., None].bool()
        return Texts(torch.where(seen, tokens, self.network.text_embedding_padding))

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        config = self.network.config
        yield TextStream(self.pipeline.tokenizer, text, config.text_len)
        yield TextStream(self.pipeline.tokenizer_2, text, config.text_len_t5, shift=config.text_len)

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says."""
        return texts.states, None

    def _encode(self, texts: list[str], which: int) -> tuple[Tensor, Tensor]:
        states, _, mask, _ = self.pipeline.encode_prompt(
            texts, do_classifier_free_guidance=False, text_encoder_index=which
        )
        return states, mask
