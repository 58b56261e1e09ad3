"""Attention probabilities of a layer's queries and keys, in little memory and as little time.

Nothing of the size cells x keys is kept for longer than a chunk.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor
from torch.nn import functional

NUMBERS_AT_ONCE = 2**24
"""Numbers computed at once: 64 MiB in float32."""

_VALUE = 1024.0
"""What probabilities are multiplied by while they are float16, whose smallest numbers are too large for them."""


@torch.no_grad()
def token_probabilities(
    query: Float[Tensor, "b heads cells d"],
    key: Float[Tensor, "b heads keys d"],
    columns: Float32[Tensor, "b keys kept"],
    *,
    mask: Tensor | None,
    scale: float,
    numbers_at_once: int = NUMBERS_AT_ONCE,
) -> Float32[Tensor, "b heads cells kept"]:
    """``softmax(scale Q K^T + mask) C``: the probabilities of some keys, or sums of them, under a softmax over all.

    The columns take the place of the values in the library's own attention, which never holds cells x keys numbers.

    Args:
        query: of the image's cells.
        key: of all tokens that the softmax is over.
        columns: what each key counts in each of the sums.
        mask: as `SeenAttention.mask`, of these keys.
        scale: of the dot products.
        numbers_at_once: by which the heads are taken a few at a time.
    """
    batch, _, cells, width = query.shape
    padding = -columns.shape[-1] % width
    values = functional.pad(columns * _VALUE, (0, padding)).to(query.dtype)[:, None]
    at_once = max(1, numbers_at_once // (batch * max(cells, key.shape[2]) * width))
    found = []
    for some, theirs in zip(torch.split(query, at_once, 1), torch.split(key, at_once, 1), strict=True):
        parts = [
            functional.scaled_dot_product_attention(
                some, theirs, part.expand(-1, some.shape[1], -1, -1), attn_mask=mask, scale=scale
            )
            for part in torch.split(values, width, -1)
        ]
        found.append(torch.cat(parts, -1)[..., : columns.shape[-1]].float() / _VALUE)
    return torch.cat(found, 1)


def joined_mask(mask: Tensor | None, keys: int, more: Bool[Tensor, "b extra"] | None, extra: int) -> Tensor | None:
    """A mask over ``keys`` keys, continued by one over ``extra`` more, True where they may be seen; None sees all."""
    if mask is None and more is None:
        return None
    if mask is None:
        assert more is not None
        mask = torch.ones(len(more), 1, 1, keys, dtype=torch.bool, device=more.device)
    if more is None:
        more = torch.ones(len(mask), extra, dtype=torch.bool, device=mask.device)
    more = more[:, None, None].expand(len(more), *mask.shape[1:3], extra)
    if mask.dtype != torch.bool:
        more = torch.zeros(more.shape, dtype=mask.dtype, device=mask.device).masked_fill(~more, float("-inf"))
    return torch.cat([mask.expand(len(more), -1, -1, -1), more], -1)


@torch.no_grad()
def self_attention(
    query: Float[Tensor, "b heads cells d"],
    key: Float[Tensor, "b heads cells d"],
    *,
    scale: float,
    grid: tuple[int, int],
    pool: int,
    linear: bool = False,
    numbers_at_once: int = NUMBERS_AT_ONCE,
) -> Float32[Tensor, "b coarse coarse"]:
    """The mean over heads of ``softmax(scale Q K^T)`` among the cells of a grid; each row sums to 1.

    Args:
        query: of the cells, row by row.
        key: of the same cells.
        scale: of the dot products.
        grid: (h, w) of the cells.
        pool: cells a side of the squares of cells that stand together: the mean of the rows of a square, the sum of the
            columns. The squares at the lower and right border may be smaller.
        linear: linear attention instead: ``relu(Q) relu(K)^T``, each row divided by its sum.
        numbers_at_once: by which rows and heads are taken a few at a time.
    """
    batch, heads, cells, _ = query.shape
    squares = square_of(grid, pool).to(query.device)
    sizes = torch.bincount(squares).float()
    total = torch.zeros(batch, len(sizes), len(sizes), device=query.device)
    rows = max(1, min(cells, numbers_at_once // (batch * cells)))
    at_once = max(1, numbers_at_once // (batch * cells * rows))
    for places in torch.split(torch.arange(cells, device=query.device), rows):
        mean = torch.zeros(batch, len(places), cells, device=query.device)
        for some, theirs in zip(
            torch.split(query[:, :, places], at_once, 1), torch.split(key, at_once, 1), strict=True
        ):
            mean += _rows_of(some, theirs, scale, linear).sum(1)
        total.index_add_(1, squares[places], _sum_squares(mean / heads, grid, pool))
    return total / sizes[:, None]


def square_of(grid: tuple[int, int], pool: int) -> Int[Tensor, " cells"]:
    """The square of `pool` x `pool` cells that each cell of a grid is in, counted row by row."""
    height, width = grid
    across = -(-width // pool)
    rows, columns = torch.arange(height) // pool, torch.arange(width) // pool
    return (rows[:, None] * across + columns).flatten()


def _rows_of(query: Tensor, key: Tensor, scale: float, linear: bool) -> Float32[Tensor, "b heads rows cells"]:
    if not linear:
        return ((query * scale) @ key.transpose(-1, -2)).softmax(-1, dtype=torch.float32)
    weights = query.relu().float() @ key.relu().float().transpose(-1, -2)
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-15)


def _sum_squares(
    maps: Float32[Tensor, "b rows cells"], grid: tuple[int, int], pool: int
) -> Float32[Tensor, "b rows coarse"]:
    height, width = grid
    squared = functional.pad(torch.unflatten(maps, -1, grid), (0, -width % pool, 0, -height % pool))
    squares = torch.unflatten(torch.unflatten(squared, -1, (-1, pool)), -3, (-1, pool))
    return squares.sum((-1, -3)).flatten(-2)
