"""One seed per sample, so that a sample never depends on its neighbours, its batch or its worker."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def sample_seed(run_seed: int, index: int) -> int:
    """Seed of one sample.

    A keyed hash rather than ``run_seed + index``, so that two runs with neighbouring seeds share no sample.

    Args:
        run_seed: the run's seed.
        index: the sample's index in the run, >= 0.

    Returns:
        An integer in [0, 2**63).
    """
    digest = hashlib.blake2b(f"{run_seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def sample_random(run_seed: int, *path: object) -> random.Random:
    """A Python random generator that follows from the run's seed and a path of names or numbers alone."""
    key = ":".join(str(part) for part in (run_seed, *path))
    return random.Random(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big"))


def sample_generator(seed: int) -> torch.Generator:
    """The torch generator of one sample. On the CPU, so that every device draws the same noise."""
    import torch

    return torch.Generator(device="cpu").manual_seed(seed)
