"""AuraFlow: register tokens and text before the image, in blocks of two streams and then of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream


class AuraFlow(Family):
    """The text is T5's."""

    attention = (("joint_transformer_blocks", "attn"), ("single_transformer_blocks", "attn"))
    text_limit = 256

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says."""
        states, *_ = self.pipeline.encode_prompt(texts, do_classifier_free_guidance=False, max_sequence_length=length)
        return Texts(states)

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        yield TextStream(self.tokenizer, text, length, shift=self.network.register_tokens.shape[1])

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says."""
        registers = self.network.register_tokens.expand(len(texts.states), -1, -1)
        return torch.cat([registers, self.network.context_embedder(texts.states)], 1), None

    def class_call(self, call: Call, tokens: Tensor, extra: Any) -> Call:
        """As the base class says."""
        is_single = "encoder_hidden_states" not in call
        return call | {"hidden_states": tokens} if is_single else super().class_call(call, tokens, extra)

    def time(self, timestep: int) -> float:
        """As the base class says."""
        return timestep / 1000
