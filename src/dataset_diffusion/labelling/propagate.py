"""Self-attention exponentiation: spread each class's cross-attention along what the image's pixels attend to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dataset_diffusion.errors import ConfigError, whole_number
from dataset_diffusion.labelling.maps import check_axes, check_size, float_maps, resize


def propagate(
    cross_attention: Float[Tensor | np.ndarray, "classes hc wc"],
    self_attention: Float[Tensor | np.ndarray, "hw hw"],
    self_shape: tuple[int, int],
    exponent: int = 4,
) -> Float32[Tensor, "classes h w"]:
    """Spread class maps along self-attention: ``A* = (A_S)^tau · A_C`` (the paper's self-attention exponentiation).

    Computed as ``exponent`` products of the matrix with the maps, never as a power of the matrix.

    Args:
        cross_attention: A_C, "classes hc wc" in [0, 1]; resized bicubically to ``self_shape`` first.
        self_attention: A_S, "hw hw"; row i says what pixel i attends to and sums to 1.
        self_shape: (h, w) of the self-attention grid, h * w == hw.
        exponent: tau, the number of products, >= 0; with 0 the maps are only resized.

    Returns:
        float32, "classes h w". Rows that sum to 1 keep every value within the range of the resized map.

    Raises:
        ConfigError: a negative exponent, no class, or a self-attention matrix that does not belong to ``self_shape``.
        ModelError: NaN or infinity in the attention.

    Example:
        >>> attends_to_the_other = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> propagate(torch.tensor([[[1.0, 0.0]]]), attends_to_the_other, self_shape=(1, 2), exponent=1)
        tensor([[[0., 1.]]])
    """
    whole_number(exponent, "exponent")
    return propagate_each(cross_attention, self_attention, self_shape, (exponent,))[0]


def propagate_each(
    cross_attention: Float[Tensor | np.ndarray, "classes hc wc"],
    self_attention: Float[Tensor | np.ndarray, "hw hw"],
    self_shape: tuple[int, int],
    exponents: Sequence[int],
) -> Float32[Tensor, "exponents classes h w"]:
    """`propagate` for several exponents, ascending and each >= 0, in one pass: each product is computed once."""
    _check_exponents(exponents)
    check_size(self_shape, "self_shape")
    cross = float_maps(cross_attention, "cross-attention maps")
    matrix = float_maps(self_attention, "self-attention maps")
    check_axes(cross, "classes h w", "cross-attention maps")
    height, width = self_shape
    if matrix.shape != (height * width, height * width):
        raise ConfigError(
            "self_attention does not belong to self_shape",
            got=f"{' x '.join(map(str, matrix.shape))} for a {height} x {width} grid",
            expected=f"{height * width} x {height * width}",
        )
    rows = resize(cross, self_shape).flatten(1)
    products, kept = 0, []
    for exponent in exponents:
        for _ in range(exponent - products):
            rows = rows @ matrix.T  # reads the matrix row by row: several times faster than matrix @ columns
        products = exponent
        kept.append(rows.reshape(-1, height, width))
    return torch.stack(kept)


def _check_exponents(exponents: Sequence[int]) -> None:
    if not exponents or min(exponents) < 0 or list(exponents) != sorted(set(exponents)):
        got = exponents[0] if len(exponents) == 1 else tuple(exponents)
        raise ConfigError(
            "bad number of self-attention products (exponent)",
            got=got,
            expected="0 or more; several in ascending order",
        )
