"""Lumina-Image 2: one sequence, each image right after its own text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream
from dataset_diffusion.diffusion.tap import Places


class Lumina2(Family):
    """The text stands after a system prompt; guidance takes calls of its own."""

    attention = (("layers", "attn"),)
    guidance = "own call"
    text_limit = 256

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says; a text has as many tokens as it needs."""
        states, mask, *_ = self.pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
        longest = int(mask.sum(1).max())
        return Texts(states[:, :longest], mask[:, :longest].bool())

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        before = f"{self.pipeline.system_prompt} <Prompt Start> "
        yield TextStream(self.tokenizer, text, self.text_limit, before=before)

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says."""
        network, states = self.network, texts.states
        ids = torch.zeros(*states.shape[:2], 3, dtype=torch.int32, device=states.device)
        ids[..., 0] = torch.arange(states.shape[1])
        rotary = network.rope_embedder._get_freqs_cis(ids)
        tokens = network.time_caption_embed.caption_embedder(states)
        for layer in network.context_refiner:
            tokens = layer(tokens, texts.mask, rotary)
        return tokens, rotary

    def class_call(self, call: Call, tokens: Tensor, extra: Any) -> Call:
        """As the base class says."""
        return call | {"hidden_states": tokens, "attention_mask": None, "image_rotary_emb": extra}

    def image_places(self, call: Call, cells: int, total: int) -> tuple[Places, Places]:
        """As the base class says."""
        lengths: Tensor = call["encoder_attention_mask"].sum(1)
        here = lengths[:, None] + torch.arange(cells, device=lengths.device)
        return here, here

    def time(self, timestep: int) -> float:
        """As the base class says."""
        return 1 - timestep / 1000
