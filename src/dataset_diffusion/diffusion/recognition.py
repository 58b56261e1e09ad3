"""Whose weights a folder or repository holds: told by commits and hashes, never by configs, which others share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataset_diffusion.diffusion.specs import ModelSpec

FORMER = {
    "runwayml/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-2-1-base": "sd21-base",
}
"""Repositories that the hub no longer has, and the model whose weights they held."""

WEIGHTS = "diffusion_pytorch_model.safetensors"
_METADATA = Path(".cache/huggingface/download/unet") / f"{WEIGHTS}.metadata"
"""What `hf download --local-dir` leaves in the folder: commit, hash and time, a line each."""


def name_of_repository(hub_id: str, models: Mapping[str, ModelSpec]) -> str | None:
    """The row of a table that a hub id stands for, at any commit; None where there is none."""
    asked = hub_id.casefold()
    named = {spec.path.casefold(): name for name, spec in models.items() if spec.revision is not None}
    return named.get(asked) or FORMER.get(asked)


def name_of_folder(folder: Path, models: Mapping[str, ModelSpec]) -> str | None:
    """The row whose UNet's weights a folder holds; None where that cannot be told.

    Told by the hash, for a row that is a folder itself; for the hub's, by the commit, in the hub's cache or in what
    `hf download` wrote beside weights that have still the hash they had.
    """
    weights, commit = folder / "unet" / WEIGHTS, _commit(folder)
    for name, spec in models.items():
        own = Path(spec.path) / "unet" / WEIGHTS
        if spec.revision is None and _same(weights, own):
            return name
        if spec.revision is not None and spec.revision == commit:
            return name
    return None


def _commit(folder: Path) -> str | None:
    resolved = folder.resolve()
    if resolved.parent.name == "snapshots" and resolved.parent.parent.name.startswith("models--"):
        return resolved.name
    try:
        commit, etag, *_ = (folder / _METADATA).read_text(encoding="utf-8").splitlines()
        return commit if _sha256(folder / "unet" / WEIGHTS) == etag else None
    except (OSError, ValueError):
        return None


def _same(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file()) or one.stat().st_size != other.stat().st_size:
        return False
    return _sha256(one) == _sha256(other)


def _sha256(file: Path) -> str:
    known = file.stat()
    return _sha256_of(file, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=16)
def _sha256_of(file: Path, size: int, time: int) -> str:
    """Read once, as weights of gigabytes take seconds; ``size`` and ``time`` tell a changed file from it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
