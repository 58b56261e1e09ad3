"""Qwen-Image: text and image together in blocks of two streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream


class QwenImage(Family):
    """The text stands in a chat template, whose first tokens are dropped; guidance takes calls of its own."""

    guidance = "own call"

    @property
    def pixels_per_cell(self) -> int:
        """As the base class says; four latent cells are packed into a token."""
        return int(self.pipeline.vae_scale_factor * 2)

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """As the base class says."""
        if self.is_guided(scale):
            return {"true_cfg_scale": scale, "negative_prompt": negative_prompts}
        return {"guidance_scale": scale} if self.takes_scale else {}

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says; a text has as many tokens as it needs."""
        states, mask = self.pipeline.encode_prompt(texts, max_sequence_length=self.text_limit)
        return Texts(states, None if mask is None else mask.bool())

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        before, after = self.pipeline.prompt_template_encode.split("{}")
        dropped = self.pipeline.prompt_template_encode_start_idx
        yield TextStream(self.tokenizer, text, self.text_limit + dropped, -dropped, before, after)

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says."""
        network, states = self.network, texts.states
        rotary = network.pos_embed(call["img_shapes"], max_txt_seq_len=states.shape[1], device=states.device)[1]
        return network.txt_in(network.txt_norm(states)), rotary

    def class_call(self, call: Call, tokens: Tensor, extra: Any) -> Call:
        """As the base class says."""
        rotary = call["image_rotary_emb"][0][:1], extra
        more = {"encoder_hidden_states_mask": None, "image_rotary_emb": rotary}
        return super().class_call(call, tokens, extra) | more

    def encode_images(self, pixels: Tensor) -> Tensor:
        """As the base class says."""
        config = self.pipeline.vae.config
        latents = self.pipeline.vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0]
        mean, deviation = (
            torch.tensor(numbers).view(1, -1, 1, 1).to(latents) for numbers in (config.latents_mean, config.latents_std)
        )
        found: Tensor = (latents - mean) / deviation
        return found

    def time(self, timestep: int) -> float:
        """As the base class says."""
        return timestep / 1000

    def pack(self, latents: Tensor) -> Any:
        """As the base class says."""
        return self.pipeline._pack_latents(latents, *latents.shape)
