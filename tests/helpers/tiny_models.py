"""Stable Diffusion's architectures with a sixteenth or an eighth of the channels, weights random.

Block types, depths and numbers of heads are the published ones.
"""

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from tests.helpers.architectures import build_pipeline
from transformers import CLIPConfig, CLIPImageProcessor

from dataset_diffusion.diffusion.families.unet import UNetModel
from dataset_diffusion.diffusion.specs import ModelSpec
from dataset_diffusion.reading import LayerChoice

THINNER = {"sd15": 8, "sd21-base": 16, "sdxl-base": 16}
"""By what the channels of each architecture are divided; its heads must still divide them."""

SPEC = ModelSpec("thin", 128, 128, LayerChoice(4), LayerChoice(8), num_inference_steps=2, guidance_scale=3.0)
"""16x16 latents: maps at a quarter and half of their side, as published for 64x64."""


def thin_pipeline(name: str) -> StableDiffusionPipeline:
    """The diffusers pipeline."""
    return build_pipeline(name, THINNER[name])


def add_safety_checker(pipeline: StableDiffusionPipeline, images: list[np.ndarray]) -> int:
    """Give a pipeline a tiny safety checker with random weights that refuses one of some images, and tell which."""
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config=vision | {"image_size": 32, "patch_size": 8}, projection_dim=8)
    ).eval()
    torch.nn.init.normal_(checker.concept_embeds)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    with torch.no_grad():
        features = checker.vision_model(processor(images, return_tensors="pt").pixel_values)[1]
        likeness = cosine_distance(checker.visual_projection(features), checker.concept_embeds)[:, 0]
        checker.special_care_embeds_weights.fill_(2.0)  # no cosine is as high
        checker.concept_embeds_weights.fill_(2.0)
        checker.concept_embeds_weights[0] = likeness.topk(2).values.mean()
    pipeline.register_modules(safety_checker=checker, feature_extractor=processor)
    return int(likeness.argmax())


def thin_model(name: str) -> UNetModel:
    """The pipeline wrapped."""
    return UNetModel(SPEC, thin_pipeline(name))
