"""FLUX.2: as FLUX.1, with a chat model's text at places of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Call, Family, Texts, TextStream, in_template


class Flux2(Family):
    """The text stands in a chat template; klein's guidance takes calls of its own unless it was distilled."""

    attention = (("transformer_blocks", "attn"), ("single_transformer_blocks", "attn"))
    guidance = "own call"

    @property
    def pixels_per_cell(self) -> int:
        """As the base class says; four latent cells are packed into a token."""
        return int(self.pipeline.vae_scale_factor * 2)

    @property
    def takes_scale(self) -> bool:
        """As the base class says."""
        return super().takes_scale or bool(self.pipeline.config.get("is_distilled"))

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """As the base class says; the pipeline takes no negative prompt."""
        return {"guidance_scale": scale}

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """As the base class says."""
        return Texts(self.pipeline.encode_prompt(texts, max_sequence_length=length)[0])

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """As the base class says."""
        before, after = in_template(self.tokenizer, enable_thinking=False)
        yield TextStream(self.tokenizer, text, length, before=before, after=after)

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Tensor, Any]:
        """As the base class says; the last place is that of the image's token."""
        count = texts.states.shape[1]
        ids = torch.zeros(count + 1, 4, device=texts.states.device)
        ids[:-1, 3] = torch.arange(count)
        return self.network.context_embedder(texts.states), self.network.pos_embed(ids)

    def class_call(self, call: Call, tokens: Tensor, extra: Any) -> Call:
        """As the base class says."""
        if call.get("encoder_hidden_states") is not None:
            return super().class_call(call, tokens, extra) | {"image_rotary_emb": extra}
        return call | {"hidden_states": tokens, "image_rotary_emb": tuple(part[:-1] for part in extra)}

    def encode_images(self, pixels: Tensor) -> Tensor:
        """As the base class says."""
        autoencoder = self.pipeline.vae
        latents = self.pipeline._patchify_latents(autoencoder.encode(pixels).latent_dist.mode())
        norm = autoencoder.bn
        mean, variance = (numbers.view(1, -1, 1, 1).to(latents) for numbers in (norm.running_mean, norm.running_var))
        found: Tensor = (latents - mean) / (variance + autoencoder.config.batch_norm_eps).sqrt()
        return found

    def time(self, timestep: int) -> float:
        """As the base class says."""
        return timestep / 1000

    def pack(self, latents: Tensor) -> Any:
        """As the base class says."""
        return self.pipeline._pack_latents(latents)
