"""CogView4: text and image share every block's weights; the text is filled up on its left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream

_MULTIPLE = 16


class CogView4(Family):
    """What fills a text up is seen, and in a batch depends on the others: images are drawn one by one."""

    attention = (("transformer_blocks", "attn1"),)
    guidance = "own call"
    text_limit = 1024
    is_drawn_alone = True

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says; each text by itself."""
        found = [self.pipeline.encode_prompt([text], do_classifier_free_guidance=False)[0][0] for text in texts]
        mask = pad_sequence([torch.ones(len(states), dtype=torch.bool, device=states.device) for states in found], True)
        return Texts(pad_sequence(found, True), mask)

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        bare = TextStream(self.tokenizer, text, self.text_limit)
        yield TextStream(self.tokenizer, text, self.text_limit, shift=-len(bare) % _MULTIPLE)

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says."""
        return self.network.patch_embed.text_proj(texts.states), None

    def class_call(self, call: Call, tokens: Tensor, extra: Any) -> Call:
        """As the base class says."""
        rotary = tuple(part[:1] for part in call["image_rotary_emb"])
        return super().class_call(call, tokens, extra) | {"image_rotary_emb": rotary}

    def text_of(self, output: Any) -> Tensor:
        """As the base class says."""
        text: Tensor = output[1]
        return text
