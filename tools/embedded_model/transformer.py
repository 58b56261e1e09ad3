"""A small diffusion transformer in SD3's layout, trained on the captions and latents of the UNet. No mask is shown.

It learns by rectified flow (Liu et al. 2022; Esser et al. 2024), first on latents of half the size, which a quarter of
the tokens hold: there it learns what is where, for a third of the time a step.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel
from loop import WORLD_SIZE, muon, train
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

BATCH_SIZES = {8: 32, 16: 16}
"""Scenes a step, by the side of the latents."""

CAPTION_DROPOUT = 0.1
NOISE_MEAN = 0.4
"""Noise levels are drawn logit-normal around this, as the UNet's are."""

SECOND_WIDTH = 16
"""SD3's pipeline has two CLIP encoders; the second one is as small as it can be."""


class FlowLoss(nn.Module):
    """Squared error of the predicted velocity from the picture to the noise, on latents of a ``side`` of 8 or 16."""

    def __init__(self, encoders: nn.ModuleList, transformer: SD3Transformer2DModel) -> None:
        super().__init__()
        self.encoders, self.transformer = encoders, transformer
        self.side = 16

    def forward(self, latents: Tensor, tokens: Tensor, sigmas: Tensor, noise: Tensor) -> Tensor:
        level = sigmas.view(-1, 1, 1, 1)
        noisy, target = (1 - level) * latents + level * noise, noise - latents
        states, pooled = zip(*(_encode(encoder, tokens) for encoder in self.encoders), strict=True)
        places = self.transformer.pos_embed
        whole = places.cropped_pos_embed
        if self.side == 8:
            noisy, target = (functional.avg_pool2d(tensor, 2) for tensor in (noisy, target))
            places.cropped_pos_embed = lambda height, width: _halved(whole(2 * height, 2 * width))
        try:
            velocity = self.transformer(
                hidden_states=noisy,
                encoder_hidden_states=torch.cat(states, -1),
                pooled_projections=torch.cat(pooled, -1),
                timestep=sigmas * 1000,
            ).sample
        finally:
            places.cropped_pos_embed = whole
        return functional.mse_loss(velocity.float(), target)


def build_encoders(tokenizer: CLIPTokenizer, start: CLIPTextModel) -> nn.ModuleList:
    """Both text encoders; the first starts from the UNet's.

    Their pooled states stay zero: classes come in by the tokens alone, whose attention is read.
    """
    first = _build_encoder(tokenizer, width=start.config.hidden_size, layers=2)
    known = start.state_dict()
    first.load_state_dict({name: known.get(name, weight) for name, weight in first.state_dict().items()})
    encoders = nn.ModuleList([first, _build_encoder(tokenizer, width=SECOND_WIDTH, layers=1)])
    for encoder in encoders:
        nn.init.zeros_(encoder.text_projection.weight)
        encoder.text_projection.requires_grad_(False)
    return encoders


def build_transformer(latent_channels: int, text_width: int) -> SD3Transformer2DModel:
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=text_width,
        caption_projection_dim=128,
        pooled_projection_dim=text_width,
        pos_embed_max_size=24,
        qk_norm="rms_norm",
    )
    # Every block starts as the identity (Peebles and Xie 2023).
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and (".norm1" in name or name.startswith("norm_out") or name == "proj_out"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return transformer


def train_transformer(
    latents: Tensor,
    tokens: Tensor,
    tokenizer: CLIPTokenizer,
    start: CLIPTextModel,
    *,
    steps: dict[int, int],
    checkpoint: Path,
    seed: int,
) -> tuple[nn.ModuleList, SD3Transformer2DModel]:
    """Train on scaled ``latents`` ("n c 16 16") and ``tokens`` ("n texts length"): several texts a scene.

    Args:
        latents: of all scenes.
        tokens: of their texts.
        tokenizer: of the UNet, for both encoders.
        start: the UNet's text encoder.
        steps: on latents of which side how many, in this order.
        checkpoint: file to resume from, with the side added to its name.
        seed: of the weights and of every draw.

    Returns:
        Both text encoders and the transformer, averaged over the steps.
    """
    torch.manual_seed(seed)
    no_caption = torch.tensor(tokenizer("", padding="max_length").input_ids)
    encoders = build_encoders(tokenizer, start)
    text_width = sum(encoder.config.hidden_size for encoder in encoders)
    network = FlowLoss(encoders, build_transformer(latents.shape[1], text_width))

    def draw_batch(generator: torch.Generator) -> tuple[Tensor, ...]:
        batch_size = BATCH_SIZES[network.side] // WORLD_SIZE
        numbers = torch.randint(len(latents), (batch_size,), generator=generator)
        texts = torch.randint(tokens.shape[1], (batch_size,), generator=generator)
        dropped = torch.rand(batch_size, 1, generator=generator) < CAPTION_DROPOUT
        sigmas = torch.sigmoid(torch.randn(batch_size, generator=generator) + NOISE_MEAN)
        clean = latents[numbers].float()
        noise = torch.randn(clean.shape, generator=generator)
        return clean, torch.where(dropped, no_caption, tokens[numbers, texts]), sigmas, noise

    for number, (side, count) in enumerate(steps.items()):
        network.side = side
        average = train(
            network,
            draw_batch,
            steps=count,
            peak_learning_rate=3e-3,
            checkpoint=checkpoint.with_stem(f"{checkpoint.stem}-{side}"),
            seed=seed + number,
            build_optimizers=muon,
        )
        network = copy.deepcopy(average)
    return network.encoders, network.transformer


def _build_encoder(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            projection_dim=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _encode(encoder: CLIPTextModelWithProjection, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What StableDiffusion3Pipeline takes of an encoder: the states before the last layer, and the pooled ones."""
    output = encoder(tokens, output_hidden_states=True)
    return output.hidden_states[-2], output.text_embeds


def _halved(places: Tensor) -> Tensor:
    """Position embeddings "1 cells c" of a square grid, averaged over 2 x 2 cells."""
    side = int(places.shape[1] ** 0.5)
    grid = places.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return functional.avg_pool2d(grid, 2).flatten(2).transpose(1, 2)
