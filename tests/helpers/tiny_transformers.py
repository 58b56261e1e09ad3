"""Thin pipelines of every family of transformers, weights random, nothing downloaded.

Layouts (order of tokens, text encoders, guidance, autoencoder) are the published ones; widths and depths are small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from tests.helpers.tiny_tokenizers import sentencepiece_like
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from dataset_diffusion.diffusion.families.table import family_of
from dataset_diffusion.diffusion.native import NATIVE, native_layers, native_size
from dataset_diffusion.diffusion.specs import MODELS, ModelSpec
from dataset_diffusion.diffusion.transformer import TransformerModel

SIDE = 64
"""Pixels a side of the images that they were made for."""
HEADS = {"num_attention_heads": 4, "attention_head_dim": 16}


def thin_transformer(name: str) -> TransformerModel:
    """The pipeline wrapped, with the layers that are read by default."""
    torch.manual_seed(0)
    pipeline = PIPELINES[name]()
    pipeline.set_progress_bar_config(disable=True)
    network, kind = pipeline.transformer, type(pipeline.transformer).__name__
    native = NATIVE[kind]
    _, side = native_size(native, network.config | {"sample_size": 0}, dict(pipeline.vae.config))
    side = SIDE // family_of(pipeline).pixels_per_cell
    cross, own = native_layers(native, network.config, side)
    spec = ModelSpec(
        "thin",
        SIDE,
        SIDE,
        cross,
        own,
        num_inference_steps=2,
        guidance_scale=native.guidance_scale,
        scheduler=type(pipeline.scheduler).__name__,
        attend_timesteps=(101, 301),
    )
    return TransformerModel(spec, pipeline)


def clip(*, projected: bool, width: int = 32) -> tuple[CLIPTokenizer, Any]:
    """A tokenizer of CLIP's kind, and a text encoder."""
    tokenizer = CLIPTokenizer.from_pretrained(f"{MODELS['embedded'].path}/tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5(width: int) -> tuple[Any, T5EncoderModel]:
    """A tokenizer of T5's kind (no start token, an end token), and an encoder."""
    tokenizer = sentencepiece_like(end="</s>")
    config = T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return tokenizer, T5EncoderModel(config).eval()


def autoencoder(channels: int, **options: Any) -> AutoencoderKL:
    """Eight pixels a latent cell."""
    config = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "latent_channels": channels,
        "norm_num_groups": 4,
        "shift_factor": 0.06,
        "scaling_factor": 1.5,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    return AutoencoderKL(**config | options).eval()


def sd3(*, dual: tuple[int, ...] = (), with_t5: bool = True, channels: int = 4) -> StableDiffusion3Pipeline:
    """``dual``: the layers of 3.5 medium that attend to the image once more."""
    (tokenizer, encoder), (tokenizer_2, encoder_2) = clip(projected=True), clip(projected=True)
    tokenizer_3, encoder_3 = t5(64) if with_t5 else (None, None)
    network = SD3Transformer2DModel(
        **HEADS,
        sample_size=SIDE // 8,
        patch_size=2,
        in_channels=channels,
        out_channels=channels,
        num_layers=3,
        joint_attention_dim=64,
        caption_projection_dim=64,
        pooled_projection_dim=64,
        pos_embed_max_size=16,
        qk_norm="rms_norm" if dual else None,
        dual_attention_layers=dual,
    ).eval()
    return StableDiffusion3Pipeline(
        network,
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        autoencoder(channels),
        encoder,
        tokenizer,
        encoder_2,
        tokenizer_2,
        encoder_3,
        tokenizer_3,
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "sd3": sd3,
    "sd3-without-t5": lambda: sd3(with_t5=False),
    "sd35": lambda: sd3(dual=(0, 1)),
}
