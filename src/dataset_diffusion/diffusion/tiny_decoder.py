"""A tiny autoencoder in the place of the model's own: where steps are few, decoding takes most of the time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_diffusion.errors import ModelError, first_line
from dataset_diffusion.machine.hub import SAFE, download

_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


@dataclass(frozen=True)
class TinyDecoder:
    """A folder with ``config.json`` and safetensors weights of an ``AutoencoderTiny``."""

    folder: Path

    @property
    def fingerprint(self) -> str:
        """A hash of config and weights."""
        digest = hashlib.sha256()
        for name in _FILES:
            with (self.folder / name).open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()[:16]


def find_tiny_decoder(name: str) -> TinyDecoder:
    """A tiny autoencoder by name.

    Args:
        name: a folder, or a hub id (``owner/name``).

    Raises:
        ModelError: no such folder or repository, or one without safetensors weights.
    """
    folder = Path(name) if Path(name).is_dir() else download(name, _FILES, "the tiny autoencoder", place="folder")
    if missing := [one for one in _FILES if not (folder / one).is_file()]:
        raise ModelError("not a tiny autoencoder", got=name, expected=" and ".join(missing))
    return TinyDecoder(folder)


def use_tiny_decoder(pipeline: Any, decoder: TinyDecoder | None, dtype: Any) -> None:
    """Put a tiny autoencoder in the place of a pipeline's own; None leaves that.

    Raises:
        ModelError: it is none, or is of latents of another kind than the model's.
    """
    if decoder is None:
        return
    from diffusers import AutoencoderTiny

    try:
        tiny = AutoencoderTiny.from_pretrained(decoder.folder, dtype=dtype, **SAFE)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError("not a tiny autoencoder", got=f"{decoder.folder} ({first_line(error)})") from error
    channels, own = tiny.config.latent_channels, pipeline.vae.config.get("latent_channels")
    if channels != own:
        raise ModelError(
            "the tiny autoencoder is of another model's latents",
            got=f"{channels} channels in {decoder.folder}",
            expected=f"{own} channels",
        )
    pipeline.vae = tiny.eval()
