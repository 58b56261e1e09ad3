"""The text encoder and the UNet, trained together from nothing on captions and latents. No mask is ever shown."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from loop import WORLD_SIZE, train
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

BATCH_SIZE = 32
TEXT_WIDTH = 128
CAPTION_DROPOUT = 0.1
NOISE_MEAN = 0.6
"""Timesteps are drawn logit-normal around this: more noise than data, where what is drawn and where is decided."""


class DiffusionLoss(nn.Module):
    """Squared error of the predicted velocity (Salimans and Ho 2022)."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.text_encoder, self.unet, self.scheduler = text_encoder, unet, scheduler

    def forward(self, latents: Tensor, tokens: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        target = self.scheduler.get_velocity(latents, noise, timesteps)
        text = self.text_encoder(tokens).last_hidden_state
        return functional.mse_loss(self.unet(noisy, timesteps, text).sample.float(), target)


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(latent_channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=(96, 160),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,  # diffusers reads this as the number of heads
        norm_num_groups=16,
    )


def train_diffusion(
    latents: Tensor, tokens: Tensor, tokenizer: CLIPTokenizer, *, steps: int, checkpoint: Path, seed: int
) -> tuple[CLIPTextModel, UNet2DConditionModel]:
    """Train on scaled ``latents`` ("n c h w") and ``tokens`` ("n texts length"): several texts a scene."""
    torch.manual_seed(seed)
    scheduler, batch_size = build_scheduler(), BATCH_SIZE // WORLD_SIZE
    no_caption = torch.tensor(tokenizer("", padding="max_length").input_ids)

    def draw_batch(generator: torch.Generator) -> tuple[Tensor, ...]:
        numbers = torch.randint(len(latents), (batch_size,), generator=generator)
        texts = torch.randint(tokens.shape[1], (batch_size,), generator=generator)
        dropped = torch.rand(batch_size, 1, generator=generator) < CAPTION_DROPOUT
        noise_level = torch.sigmoid(torch.randn(batch_size, generator=generator) + NOISE_MEAN)
        clean = latents[numbers].float()
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = (noise_level * scheduler.config.num_train_timesteps).long()
        return clean, torch.where(dropped, no_caption, tokens[numbers, texts]), timesteps, noise

    network = DiffusionLoss(build_text_encoder(tokenizer), build_unet(latents.shape[1]), scheduler)
    # Over 256 cells plain matrix products learn a quarter faster on a CPU than fused attention does.
    network.unet.set_attn_processor(AttnProcessor())
    average = train(network, draw_batch, steps=steps, peak_learning_rate=1.2e-3, checkpoint=checkpoint, seed=seed)
    return average.text_encoder, average.unet
