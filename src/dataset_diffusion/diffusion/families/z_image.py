"""Z-Image: one sequence, the image before the text, each filled up to a multiple of 32 tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream, in_template
from dataset_diffusion.diffusion.tap import Places

_MULTIPLE = 32


class ZImage(Family):
    """The text stands in a chat template; the conditional half of a guided batch comes first."""

    attention = (("layers", "attention"),)
    image_first = True
    guidance = "first half"
    latents, clock = "x", "t"

    @property
    def pixels_per_cell(self) -> int:
        """As the base class says."""
        return int(self.pipeline.vae_scale_factor * self.network.config.all_patch_size[0])

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """As the base class says; this pipeline's guidance is off at 0."""
        guidance = super().options(scale, negative_prompts, steps)
        return guidance if self.is_guided(scale) else {"guidance_scale": 0.0}

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says; a text has as many tokens as it needs."""
        found, _ = self.pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False)
        mask = pad_sequence([torch.ones(len(states), dtype=torch.bool, device=states.device) for states in found], True)
        return Texts(pad_sequence(found, True), mask)

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        before, after = in_template(self.tokenizer, enable_thinking=True)
        yield TextStream(self.tokenizer, text, self.text_limit, before=before, after=after)

    def class_mask(self, texts: Texts) -> Tensor | None:
        """As the base class says: what fills a text up is seen."""
        assert texts.mask is not None
        lengths = texts.mask.sum(1)
        filled = lengths + -lengths % _MULTIPLE
        mask: Tensor = torch.arange(int(filled.max()), device=filled.device) < filled[:, None]
        return mask

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says."""
        network, mask, words = self.network, self.class_mask(texts), texts.mask
        assert mask is not None
        assert words is not None
        count = mask.shape[1]
        tokens = network.cap_pad_token.expand(len(mask), count, -1).clone()
        tokens[:, : words.shape[1]][words] = network.cap_embedder(texts.states)[words]
        ids = torch.zeros(count, 3, dtype=torch.int32, device=tokens.device)
        ids[:, 0] = torch.arange(1, count + 1)
        rotary = network.rope_embedder(ids)[None].expand(len(mask), -1, -1)
        for layer in network.context_refiner:
            tokens = layer(tokens, mask, rotary)
        return tokens, rotary

    def class_call(self, call: Call, tokens: Tensor, extra: Any) -> Call:
        """As the base class says."""
        return call | {"x": tokens, "attn_mask": None, "freqs_cis": extra}

    def image_places(self, call: Call, cells: int, total: int) -> tuple[Places, Places]:
        """As the base class says."""
        return slice(0, cells), slice(0, self.text_start(cells))

    def text_start(self, cells: int) -> int:
        """As the base class says."""
        return cells + -cells % _MULTIPLE

    def time(self, timestep: int) -> float:
        """As the base class says."""
        return 1 - timestep / 1000

    def pack(self, latents: Tensor) -> Any:
        """As the base class says."""
        return list(latents[:, :, None])
