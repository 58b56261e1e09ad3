"""Train the embedded model: scenes, tokenizer, autoencoder, text encoder and UNet, saved as a diffusers folder.

One command, and the same command again resumes. On several processes or GPUs: torchrun --nproc-per-node N train.py ...
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from autoencoder import build_autoencoder, encode, train_decoder
from diffusers import StableDiffusionPipeline
from diffusion import build_scheduler, train_diffusion
from loop import RANK, WORLD_SIZE, init_processes, wait_for_all
from scenes import IMAGE_SIZE, make_scene, training_text
from sprites import render_sprites
from tokenizer import train_tokenizer
from torch import Tensor
from transformers import CLIPTokenizer

Made = TypeVar("Made")

TEXTS_PER_SCENE = 4
TRAINING_SEED = 1
"""Scenes of this seed are for training the model alone; held-out scenes and the segmenter's have others."""


def main() -> None:
    options = _parse_options()
    init_processes()
    options.out.mkdir(parents=True, exist_ok=True)
    images, texts = _in_turn(lambda: load_scenes(options.out, options.scenes))
    tokenizer = _in_turn(lambda: load_tokenizer(options.out, texts))
    autoencoder = build_autoencoder(images, seed=0)
    if "decoder" in options.parts:
        checkpoint = options.out / "decoder.pt"
        train_decoder(autoencoder, images, steps=options.decoder_steps, checkpoint=checkpoint, seed=0)
    if "diffusion" in options.parts:
        latents = load_latents(options.out, autoencoder, images) * autoencoder.config.scaling_factor
        tokens = tokenizer([text for row in texts for text in row], padding="max_length", return_tensors="pt").input_ids
        text_encoder, unet = train_diffusion(
            latents,
            tokens.reshape(len(texts), TEXTS_PER_SCENE, -1),
            tokenizer,
            steps=options.diffusion_steps,
            checkpoint=options.out / "diffusion.pt",
            seed=0,
        )
    if RANK == 0 and len(options.parts) == 2:
        pipeline = StableDiffusionPipeline(
            vae=autoencoder,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=build_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.to(torch.float16).save_pretrained(options.out / "model")
        print(f"saved {options.out / 'model'}")


def load_scenes(folder: Path, count: int) -> tuple[np.ndarray, list[list[str]]]:
    """The training scenes' images (uint8, memory-mapped, "n 128 128 3") and texts, made once."""
    image_file, text_file = folder / "images.npy", folder / "texts.txt"
    if not text_file.exists():
        sprites = render_sprites(folder)
        shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
        images = np.lib.format.open_memmap(image_file, mode="w+", dtype=np.uint8, shape=shape)
        lines = []
        for index in range(count):
            scene = make_scene(sprites, TRAINING_SEED, index)
            rng = np.random.default_rng([TRAINING_SEED, index, 1])
            images[index] = scene.image
            lines.append("\t".join(training_text(scene, rng) for _ in range(TEXTS_PER_SCENE)))
        images.flush()
        text_file.write_text("\n".join(lines))
    texts = [line.split("\t") for line in text_file.read_text().splitlines()]
    return np.load(image_file, mmap_mode="r"), texts


def load_tokenizer(folder: Path, texts: list[list[str]]) -> CLIPTokenizer:
    if not (folder / "tokenizer").exists():
        train_tokenizer((text for row in texts for text in row), folder / "tokenizer")
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def load_latents(folder: Path, autoencoder: torch.nn.Module, images: np.ndarray) -> Tensor:
    """The scenes' latents, float16, unscaled, made once; every process makes its share."""
    shares = np.array_split(images, WORLD_SIZE)
    files = [folder / f"latents-{rank}-of-{WORLD_SIZE}.pt" for rank in range(WORLD_SIZE)]
    if not files[RANK].exists():
        torch.save(encode(autoencoder, shares[RANK]).half(), files[RANK])
    wait_for_all()
    return torch.cat([torch.load(file, weights_only=True) for file in files])


def _in_turn(make: Callable[[], Made]) -> Made:
    """Let the first process make a file before the others read it."""
    if RANK > 0:
        wait_for_all()
    made = make()
    if RANK == 0:
        wait_for_all()
    return made


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/embedded_model"), help="working folder")
    parser.add_argument("--scenes", type=int, default=30_000, help="number of training scenes")
    parser.add_argument("--decoder-steps", type=int, default=1_000, help="steps of 16 crops")
    parser.add_argument("--diffusion-steps", type=int, default=12_000, help="steps of 32 scenes")
    parts = ("decoder", "diffusion")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="what to train; both are then saved")
    return parser.parse_args()


if __name__ == "__main__":
    main()
