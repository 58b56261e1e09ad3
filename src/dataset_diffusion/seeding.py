"""One seed per sample, so that a sample never depends on its neighbours, its batch or its worker."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

from dataset_diffusion.errors import whole_number

if TYPE_CHECKING:
    import torch


def sample_seed(run_seed: int, index: int) -> int:
    """Seed of one sample.

    A keyed hash rather than ``run_seed + index``, so that two runs with neighbouring seeds share no sample.

    Returns:
        An integer in [0, 2**63).
    """
    return _keyed_hash(run_seed, index) >> 1


def random_from(run_seed: int, *path: object) -> random.Random:
    """A Python random generator that follows from the run's seed and a path of names or numbers alone."""
    return random.Random(_keyed_hash(run_seed, *path))


def sample_generator(seed: int) -> torch.Generator:
    """The torch generator of one sample. On the CPU, so that every device draws the same noise."""
    import torch

    return torch.Generator(device="cpu").manual_seed(whole_number(seed, "seed"))


def _keyed_hash(*key: object) -> int:
    digest = hashlib.blake2b(":".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
