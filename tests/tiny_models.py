"""Stable Diffusion's architectures with a sixteenth or an eighth of the channels, weights random.

Block types, depths and numbers of heads are the published ones.
"""

from benchmarks.full_size import build_pipeline
from diffusers import StableDiffusionPipeline

from dataset_diffusion.diffusion.capture import LayerChoice
from dataset_diffusion.diffusion.models import ModelSpec
from dataset_diffusion.diffusion.unet import DiffusionModel

THINNER = {"sd15": 8, "sd21-base": 16, "sdxl-base": 16}
"""By what the channels of each architecture are divided; its heads must still divide them."""

SPEC = ModelSpec("thin", 128, 128, LayerChoice(4), LayerChoice(8), num_inference_steps=2, guidance_scale=3.0)
"""16x16 latents: maps at a quarter and half of their side, as published for 64x64."""


def thin_pipeline(name: str) -> StableDiffusionPipeline:
    """The diffusers pipeline."""
    return build_pipeline(name, THINNER[name])


def thin_model(name: str) -> DiffusionModel:
    """The pipeline wrapped."""
    return DiffusionModel(SPEC, thin_pipeline(name))
