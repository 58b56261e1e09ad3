"""Which family a pipeline is of, by the class of its transformer."""

from __future__ import annotations

from typing import Any

from dataset_diffusion.diffusion.families.base import Family
from dataset_diffusion.diffusion.families.stable_diffusion_3 import StableDiffusion3
from dataset_diffusion.errors import ModelError

FAMILIES: dict[str, type[Family]] = {
    "SD3Transformer2DModel": StableDiffusion3,
}
"""The families of transformers, by the class of the network."""


def family_of(pipeline: Any) -> Family:
    """The family of a pipeline; a ModelError where its network is of none."""
    network = getattr(pipeline, "transformer", None)
    kind = type(network).__name__
    if kind not in FAMILIES:
        raise ModelError(
            "not a model whose attention can be read",
            got=f"a {type(pipeline).__name__}" + ("" if network is None else f" with a {kind}"),
            expected=f"a UNet, or one of {', '.join(FAMILIES)}",
        )
    return FAMILIES[kind](pipeline)
