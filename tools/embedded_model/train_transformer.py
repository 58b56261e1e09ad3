"""Train the embedded transformer on the embedded model's scenes, saved as a StableDiffusion3Pipeline's folder.

It takes tokenizer, autoencoder and the text encoder's start from the embedded model. The same command again resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline, StableDiffusionPipeline
from loop import RANK, init_processes
from train import TEXTS_PER_SCENE, load_latents, load_scenes
from transformer import train_transformer


def main() -> None:
    options = _parse_options()
    init_processes()
    options.out.mkdir(parents=True, exist_ok=True)
    images, texts = load_scenes(options.out, options.scenes)
    base = StableDiffusionPipeline.from_pretrained(options.base, safety_checker=None, torch_dtype=torch.float32)
    latents = load_latents(options.out, base.vae, images) * base.vae.config.scaling_factor
    tokens = base.tokenizer(
        [text for row in texts for text in row], padding="max_length", return_tensors="pt"
    ).input_ids.reshape(len(texts), TEXTS_PER_SCENE, -1)
    encoders, transformer = train_transformer(
        latents,
        tokens,
        base.tokenizer,
        base.text_encoder,
        steps={8: options.half_size_steps, 16: options.steps},
        checkpoint=options.out / "transformer.pt",
        seed=0,
    )
    if RANK == 0:
        pipeline = StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=base.vae,
            text_encoder=encoders[0],
            tokenizer=base.tokenizer,
            text_encoder_2=encoders[1],
            tokenizer_2=base.tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        )
        pipeline.to(torch.float16).save_pretrained(options.out / "transformer_model")
        print(f"saved {options.out / 'transformer_model'}")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/embedded_model"), help="working folder")
    base = Path("src/dataset_diffusion/assets/model")
    parser.add_argument("--base", type=Path, default=base, help="folder of the embedded model")
    parser.add_argument("--scenes", type=int, default=30_000, help="number of training scenes")
    parser.add_argument("--half-size-steps", type=int, default=3_000, help="steps of 32 scenes at half the size")
    parser.add_argument("--steps", type=int, default=4_000, help="steps of 16 scenes at their size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
