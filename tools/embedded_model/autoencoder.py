"""The autoencoder: 128x128 pixels to 16x16 latents of 12 channels and back.

The encoder is a linear map, the principal components of 8x8-pixel patches, written into the strided convolutions of
diffusers' AutoencoderTiny: nothing to train, so that the diffusion model can start at once. The decoder is learned.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from loop import DEVICE, WORLD_SIZE, train
from torch import Tensor, nn
from torch.nn import functional

PATCH = 8
LATENT_CHANNELS = 12
CHANNELS = 48
CROP = 64
BATCH_SIZE = 16
LATENT_NOISE = 0.03
"""Noise on the latents while the decoder learns, so that latents a little off still decode well."""


class DecoderLoss(nn.Module):
    """Absolute and squared error of the image decoded from slightly noisy latents."""

    def __init__(self, autoencoder: AutoencoderTiny) -> None:
        super().__init__()
        self.encoder, self.decoder = autoencoder.encoder.requires_grad_(False), autoencoder.decoder

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        decoded = self.decoder(self.encoder(images) + LATENT_NOISE * noise).float()
        return functional.l1_loss(decoded, images) + functional.mse_loss(decoded, images)


def build_autoencoder(images: np.ndarray, seed: int) -> AutoencoderTiny:
    """An autoencoder whose encoder is fitted to ``images`` (uint8, "n 128 128 3") and whose decoder is untrained."""
    torch.manual_seed(seed)
    autoencoder = AutoencoderTiny(
        encoder_block_out_channels=(CHANNELS,) * 4,
        decoder_block_out_channels=(CHANNELS,) * 4,
        num_encoder_blocks=(0, 0, 0, 0),
        num_decoder_blocks=(3, 2, 2, 1),
        latent_channels=LATENT_CHANNELS,
    ).to(memory_format=torch.channels_last)
    mean, components = _principal_components(images)
    _write_linear_encoder(autoencoder.encoder.layers, mean, components)
    autoencoder.register_to_config(scaling_factor=float(1 / encode(autoencoder, images[:512]).std()))
    return autoencoder


def train_decoder(
    autoencoder: AutoencoderTiny, images: np.ndarray, *, steps: int, checkpoint: Path, seed: int
) -> AutoencoderTiny:
    """Train the decoder on random crops of ``images``."""
    batch_size = BATCH_SIZE // WORLD_SIZE

    def draw_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        numbers = torch.randint(len(images), (batch_size,), generator=generator).tolist()
        corners = (PATCH * torch.randint((128 - CROP) // PATCH + 1, (batch_size, 2), generator=generator)).tolist()
        crops = [images[n, y : y + CROP, x : x + CROP] for n, (y, x) in zip(numbers, corners, strict=True)]
        noise = torch.randn(batch_size, LATENT_CHANNELS, CROP // PATCH, CROP // PATCH, generator=generator)
        return to_model_range(np.stack(crops)), noise

    average = train(
        DecoderLoss(autoencoder), draw_batch, steps=steps, peak_learning_rate=1.5e-3, checkpoint=checkpoint, seed=seed
    )
    autoencoder.decoder.load_state_dict(average.decoder.state_dict())
    return autoencoder.eval()


def to_model_range(images: np.ndarray) -> Tensor:
    """Uint8 "n h w 3" to float "n 3 h w" in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def encode(autoencoder: AutoencoderTiny, images: np.ndarray, batch_size: int = 64) -> Tensor:
    """The latents, unscaled, float32 on the CPU."""
    encoder = autoencoder.encoder.to(DEVICE)
    parts = torch.arange(len(images)).split(batch_size)
    return torch.cat([encoder(to_model_range(images[p[0] : p[-1] + 1]).to(DEVICE)).cpu() for p in parts])


def _principal_components(images: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean ("patch patch 3") and components ("channels patch patch 3") of patches with pixels in [0, 1].

    Each component is divided by the fourth root of its variance: half way to equal spread, so that neither colour nor
    detail dominates what the diffusion model learns.
    """
    sample = images[:: max(1, len(images) // 1500)][:1500].astype(np.float32) / 255
    rows = len(sample), 128 // PATCH, PATCH, 128 // PATCH, PATCH, 3
    patches = torch.from_numpy(sample.reshape(rows).transpose(0, 1, 3, 2, 4, 5).reshape(-1, PATCH * PATCH * 3))
    mean = patches.mean(0)
    variances, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    variances, vectors = variances.flip(0)[:LATENT_CHANNELS], vectors.flip(1)[:, :LATENT_CHANNELS]
    shape = (PATCH, PATCH, 3)
    return mean.reshape(shape), (vectors / variances**0.25).T.reshape(-1, *shape)


@torch.no_grad()
def _write_linear_encoder(layers: nn.Sequential, mean: Tensor, components: Tensor) -> None:
    """Two strided convolutions that gather 2x2 and then 4x4 pixels into channels, and one that projects 8x8.

    A 3x3 kernel of stride 2 and padding 1 sees pixels 2i-1, 2i, 2i+1; the first is left out.
    """
    first, half, quarter, eighth, last = layers
    for layer in layers:
        layer.weight.zero_()
    for layer in (first, last):
        layer.bias.zero_()
    first.weight[range(3), range(3), 1, 1] = 1
    for layer, channels in ((half, 3), (quarter, 12)):
        for y in (0, 1):
            for x in (0, 1):
                out = [(y * 2 + x) * channels + c for c in range(channels)]
                layer.weight[out, range(channels), 1 + y, 1 + x] = 1
    # Channel of a pixel (y, x, c) of a 4x4 block: first its place among the 2x2 blocks, then its place inside one.
    blocks = components.reshape(-1, 2, 2, 2, 2, 2, 2, 3)  # out, (y: eighth, quarter, half), (x: likewise), c
    projection = blocks.permute(0, 2, 5, 3, 6, 7, 1, 4).reshape(len(components), 48, 2, 2)
    eighth.weight[: len(components), :48, 1:, 1:] = projection
    last.weight[range(len(components)), range(len(components)), 1, 1] = 1
    last.bias[:] = -(components * mean).sum((1, 2, 3))
