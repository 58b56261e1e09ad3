"""FLUX.1: text and image together, in blocks of two streams and then of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream


class Flux(Family):
    """The text is T5's. Where the scale is not an input of the network, guidance takes calls of its own."""

    attention = (("transformer_blocks", "attn"), ("single_transformer_blocks", "attn"))
    guidance = "own call"

    @property
    def tokenizer(self) -> Any:
        """As the base class says."""
        return self.pipeline.tokenizer_2

    @property
    def pixels_per_cell(self) -> int:
        """As the base class says; four latent cells are packed into a token."""
        return int(self.pipeline.vae_scale_factor * 2)

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """As the base class says."""
        if self.is_guided(scale):
            return {"true_cfg_scale": scale, "negative_prompt": negative_prompts}
        return {"guidance_scale": scale}

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says."""
        return Texts(self.pipeline.encode_prompt(texts, None, max_sequence_length=length)[0])

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        yield TextStream(self.tokenizer, text, length)

    def class_call(self, call: Call, tokens: Tensor, extra: Any) -> Call:
        """As the base class says; all text has the first token's rotary embedding."""
        count = tokens.shape[1]
        rotary = tuple(torch.cat([part[:1].expand(count, -1), part[-1:]]) for part in call["image_rotary_emb"])
        return super().class_call(call, tokens, extra) | {"image_rotary_emb": rotary}

    def time(self, timestep: int) -> float:
        """As the base class says."""
        return timestep / 1000

    def pack(self, latents: Tensor) -> Any:
        """As the base class says."""
        return self.pipeline._pack_latents(latents, *latents.shape)
