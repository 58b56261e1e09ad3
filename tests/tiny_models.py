"""Diffusion pipelines with Stable Diffusion's block types and head layout and hardly any channels, weights random."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dataset_diffusion.diffusion.models import MODELS

WIDTH = 32


def tiny_stable_diffusion(
    *, linear_projection: bool, heads: int | tuple[int, ...], seed: int = 0
) -> StableDiffusionPipeline:
    """Four levels of two layers, as in SD 1.5 (as many heads everywhere) and 2.1 (more heads where more channels)."""
    tokenizer = CLIPTokenizer.from_pretrained(Path(MODELS["embedded"].path) / "tokenizer")
    torch.manual_seed(seed)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=heads,
        norm_num_groups=4,
        use_linear_projection=linear_projection,
    )
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
    )
    return StableDiffusionPipeline(
        vae=autoencoder.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
