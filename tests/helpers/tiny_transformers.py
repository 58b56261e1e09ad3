"""Thin pipelines of every family of transformers, weights random, nothing downloaded.

Layouts (order of tokens, text encoders, guidance, autoencoder) are the published ones; widths and depths are small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tests.helpers.tiny_tokenizers import sentencepiece_like
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from dataset_diffusion.diffusion.families.table import family_of
from dataset_diffusion.diffusion.native import NATIVE, native_layers
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
    _sharpen(network)
    native = NATIVE[kind]
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


def _sharpen(network: torch.nn.Module) -> None:
    """Random weights attend to everything alike; larger ones of queries and keys make maps that differ."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("to_q.weight", "to_k.weight")):
                weight.mul_(4)


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


def chat_model(width: int, *, layers: int = 2) -> Qwen3Model:
    """A causal language model, as the ones whose states are taken for a text's."""
    return Qwen3Model(
        Qwen3Config(
            vocab_size=256,
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
        )
    ).eval()


def flux(*, embedded: bool) -> FluxPipeline:
    """``embedded``: whether the guidance scale is an input (dev) or guidance takes a call of its own."""
    (tokenizer, encoder), (tokenizer_2, encoder_2) = clip(projected=False), t5(32)
    network = FluxTransformer2DModel(
        **HEADS,
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=embedded,
        axes_dims_rope=(4, 6, 6),
    ).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=embedded)
    return FluxPipeline(scheduler, autoencoder(4), encoder, tokenizer, encoder_2, tokenizer_2, network)


def flux2() -> Flux2KleinPipeline:
    """Klein, not distilled: guidance takes a call of its own."""
    network = Flux2Transformer2DModel(
        **HEADS,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=24,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    ).eval()
    latents = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    ).eval()
    return Flux2KleinPipeline(
        FlowMatchEulerDiscreteScheduler(), latents, chat_model(8, layers=27), sentencepiece_like(), network
    )


def qwen_image() -> QwenImagePipeline:
    """The template's first 34 tokens are dropped, whatever they are."""
    network = QwenImageTransformer2DModel(
        **HEADS,
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=3,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
    ).eval()
    latents = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[1.5] * 4
    ).eval()
    return QwenImagePipeline(
        FlowMatchEulerDiscreteScheduler(), latents, chat_model(32), sentencepiece_like(limit=2048), network
    )


def z_image() -> ZImagePipeline:
    """Captions and images are filled up to a multiple of 32 tokens."""
    network = ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=4,
        dim=64,
        n_layers=3,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=32,
        axes_dims=[4, 6, 6],
        axes_lens=[256, 64, 64],
    ).eval()
    for learned in (network.x_pad_token, network.cap_pad_token):
        torch.nn.init.normal_(learned)
    return ZImagePipeline(
        FlowMatchEulerDiscreteScheduler(), autoencoder(4), chat_model(32), sentencepiece_like(), network
    )


def lumina2() -> Lumina2Pipeline:
    """Grouped queries, and each image right after its own text."""
    network = Lumina2Transformer2DModel(
        sample_size=SIDE // 8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        hidden_size=64,
        num_layers=3,
        num_refiner_layers=1,
        num_attention_heads=4,
        num_kv_heads=2,
        multiple_of=16,
        scaling_factor=1.0,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(300, 32, 32),
        cap_feat_dim=32,
    ).eval()
    tokenizer = sentencepiece_like(start="<bos>")
    return Lumina2Pipeline(network, FlowMatchEulerDiscreteScheduler(), autoencoder(4), chat_model(32), tokenizer)


def aura_flow() -> AuraFlowPipeline:
    """Eight register tokens before the text."""
    tokenizer, encoder = t5(32)
    network = AuraFlowTransformer2DModel(
        **HEADS,
        sample_size=SIDE // 8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        joint_attention_dim=32,
        caption_projection_dim=64,
        pos_embed_max_size=256,
    ).eval()
    return AuraFlowPipeline(
        tokenizer, encoder, autoencoder(4, shift_factor=None), network, FlowMatchEulerDiscreteScheduler()
    )


def pixart(kind: type[Any]) -> Any:
    """Alpha or Sigma."""
    tokenizer, encoder = t5(32)
    network = PixArtTransformer2DModel(
        **HEADS,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        cross_attention_dim=64,
        sample_size=SIDE // 8,
        patch_size=2,
        caption_channels=32,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        attention_bias=True,
    ).eval()
    parts = {
        "tokenizer": tokenizer,
        "text_encoder": encoder,
        "vae": autoencoder(4, shift_factor=None),
        "transformer": network,
        "scheduler": DPMSolverMultistepScheduler(),
    }
    return kind(**parts)


def sana(*, sprint: bool) -> SanaPipeline | SanaSprintPipeline:
    """``sprint``: distilled, the guidance scale an input."""
    network = SanaTransformer2DModel(
        **HEADS,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        num_cross_attention_heads=4,
        cross_attention_head_dim=16,
        cross_attention_dim=64,
        caption_channels=32,
        sample_size=SIDE // 32,
        patch_size=1,
        guidance_embeds=sprint,
        qk_norm="rms_norm_across_heads" if sprint else None,
    ).eval()
    blocks = ("ResBlock",) * 6
    latents = AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        encoder_qkv_multiscales=((),) * 6,
        decoder_qkv_multiscales=((),) * 6,
        scaling_factor=0.4,
    ).eval()
    tokenizer = sentencepiece_like(start="<bos>", limit=4096)
    if sprint:
        return SanaSprintPipeline(tokenizer, chat_model(32), latents, network, SCMScheduler())
    scheduler = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    return SanaPipeline(tokenizer, chat_model(32), latents, network, scheduler)


def hunyuan_dit() -> HunyuanDiTPipeline:
    """BERT's text before T5's, each filled up to its whole length."""
    words = sentencepiece_like(start="<cls>", end="<sep>", limit=77)
    bert = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    tokenizer_2, encoder_2 = t5(32)
    network = HunyuanDiT2DModel(
        **HEADS,
        in_channels=4,
        patch_size=2,
        sample_size=SIDE // 8,
        hidden_size=64,
        num_layers=4,
        cross_attention_dim=32,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
        text_len=77,
        text_len_t5=256,
        activation_fn="gelu-approximate",
        learn_sigma=True,
    ).eval()
    return HunyuanDiTPipeline(
        autoencoder(4, shift_factor=None),
        BertModel(bert).eval(),
        words,
        network,
        DDPMScheduler(prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=encoder_2,
        tokenizer_2=tokenizer_2,
    )


def cogview4() -> CogView4Pipeline:
    """Text filled up on its left to a multiple of 16 tokens."""
    network = CogView4Transformer2DModel(
        **HEADS,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        text_embed_dim=32,
        time_embed_dim=32,
        condition_dim=16,
        pos_embed_max_size=16,
        sample_size=SIDE // 8,
        rope_axes_dim=(16, 16),
    ).eval()
    return CogView4Pipeline(
        sentencepiece_like(start="<sop>", padding_side="left", limit=1024),
        chat_model(32),
        autoencoder(4, shift_factor=None),
        network,
        FlowMatchEulerDiscreteScheduler(),
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "sd3": sd3,
    "sd3-without-t5": lambda: sd3(with_t5=False),
    "sd35": lambda: sd3(dual=(0, 1)),
    "flux-dev": lambda: flux(embedded=True),
    "flux-true-guidance": lambda: flux(embedded=False),
    "flux2": flux2,
    "pixart-alpha": lambda: pixart(PixArtAlphaPipeline),
    "pixart-sigma": lambda: pixart(PixArtSigmaPipeline),
    "sana": lambda: sana(sprint=False),
    "sana-sprint": lambda: sana(sprint=True),
    "hunyuan-dit": hunyuan_dit,
    "qwen-image": qwen_image,
    "z-image": z_image,
    "lumina2": lumina2,
    "aura-flow": aura_flow,
    "cogview4": cogview4,
}
