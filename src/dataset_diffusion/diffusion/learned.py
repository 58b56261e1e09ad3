"""The learned reading: from the attention of every layer and head to how likely a cell shows a class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional

from dataset_diffusion.reading import LearnedLayers
from dataset_diffusion.records import AttentionMaps, LayerMaps

_SMALLEST_PROBABILITY = 1e-6
_SMALLEST_DEVIATION = 1e-3

HIDDEN_UNITS = 8
PENALTY = 1e-3
"""Weight of the sum of squared weights beside the mean cross-entropy of a cell."""


def read_layers(maps: LayerMaps, learned: LearnedLayers) -> AttentionMaps:
    """What a learned reading makes of a picture's attention."""
    features = cell_features(maps.cross_attention, learned)
    hidden = torch.tanh(
        torch.einsum("cfhw,uf->cuhw", features, torch.tensor(learned.hidden))
        + torch.tensor(learned.hidden_bias)[:, None, None]
    )
    logits = torch.einsum("cuhw,u->chw", hidden, torch.tensor(learned.output)) + learned.output_bias
    return AttentionMaps(logits.sigmoid(), maps.self_attention, maps.self_shape, are_probabilities=True)


def cell_features(
    maps: Sequence[Float32[Tensor, "_ tokens _ _"]], learned: LearnedLayers
) -> Float32[Tensor, "classes features height width"]:
    """What a learned reading sees of every class and cell.

    With z the log-probability that one head of one layer gives to a class, and z0 the one it gives to the start token:
    z standardised over the picture; the probability min-max normalised over the picture; z - z0 standardised; z - z0.
    The last two with ``start_token`` only. With ``competition``, the highest value that another class of the prompt has
    of each (0 where there is no other).

    Args:
        maps: per layer, the probabilities of the classes and, last, of the start token.
        learned: which of these features; its weights are not looked at.

    Returns:
        On the largest of the layers' grids; the others are resized bicubically.
    """
    size = max(((layer.shape[-2], layer.shape[-1]) for layer in maps), key=lambda shape: shape[0] * shape[1])
    layers = [
        layer if count == len(layer) else layer.mean(0, keepdim=True)
        for layer, count in zip(maps, learned.heads, strict=True)
    ]
    probabilities = torch.cat([_resize(layer, size) for layer in layers])
    probabilities = probabilities.clamp_min(_SMALLEST_PROBABILITY).transpose(0, 1)
    log = probabilities.log()
    classes, start = log[:-1], log[-1:]
    kinds = [_standardise(classes), _min_max(probabilities[:-1])]
    if learned.start_token:
        kinds += [_standardise(classes - start), classes - start]
    features = torch.cat(kinds, dim=1)
    return torch.cat([features, _best_other(features)], dim=1) if learned.competition else features


def fit(
    features: Float32[Tensor, "cells features"],
    coverage: Float32[Tensor, " cells"],
    learned: LearnedLayers,
    *,
    weight: Float32[Tensor, " cells"],
    seed: int,
    hidden_units: int = HIDDEN_UNITS,
    penalty: float = PENALTY,
) -> LearnedLayers:
    """Weights that predict how much of a cell a class covers.

    The regularised cross-entropy is minimised by L-BFGS over all cells at once.

    Args:
        features: of cells and classes, see `cell_features`.
        coverage: the share of the cell that the class covers, 0 to 1.
        learned: what the features are; its weights are replaced.
        weight: how much each cell counts, 0 to 1.
        seed: of the first weights.
        hidden_units: of the perceptron.
        penalty: weight of the squared weights.
    """
    mean, deviation = features.mean(0), features.std(0) + _SMALLEST_PROBABILITY
    standard = (features - mean) / deviation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, last = nn.Linear(features.shape[1], hidden_units), nn.Linear(hidden_units, 1)
    network = nn.Sequential(first, nn.Tanh(), last)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=300, line_search_fn="strong_wolfe")
    total = weight.sum()

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = network(standard)[:, 0]
        entropy = functional.binary_cross_entropy_with_logits(logits, coverage, weight=weight, reduction="sum")
        squares = sum((matrix**2).sum() for matrix in network.parameters() if matrix.ndim > 1)
        value = entropy / total + penalty * squares
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        weights = first.weight / deviation
        biases = first.bias - weights @ mean
        return learned.model_copy(
            update={
                "hidden": tuple(map(_rounded, weights)),
                "hidden_bias": _rounded(biases),
                "output": _rounded(last.weight[0]),
                "output_bias": _rounded(last.bias)[0],
            }
        )


def unlearned(
    layers: dict[str, int], *, heads: bool = True, start_token: bool = True, competition: bool = True
) -> LearnedLayers:
    """A learned reading of layers, by name and number of heads, before anything is learned: every weight is 0."""
    counts = tuple(layers.values()) if heads else (1,) * len(layers)
    features = sum(counts) * (4 if start_token else 2) * (2 if competition else 1)
    return LearnedLayers(
        layers=tuple(layers),
        heads=counts,
        start_token=start_token,
        competition=competition,
        hidden=((0.0,) * features,),
        hidden_bias=(0.0,),
        output=(0.0,),
        output_bias=0.0,
    )


def _rounded(values: Tensor) -> tuple[float, ...]:
    """Six digits of each: a small file, and the same bits wherever it is read."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())


def _resize(maps: Float32[Tensor, "heads tokens h w"], size: tuple[int, int]) -> Float32[Tensor, "heads tokens _ _"]:
    return maps if maps.shape[-2:] == size else functional.interpolate(maps, size=size, mode="bicubic")


def _standardise(maps: Float32[Tensor, "... h w"]) -> Float32[Tensor, "... h w"]:
    deviation = maps.std((-2, -1), keepdim=True) if maps.shape[-2] * maps.shape[-1] > 1 else 0.0
    return (maps - maps.mean((-2, -1), keepdim=True)) / (deviation + _SMALLEST_DEVIATION)


def _min_max(maps: Float32[Tensor, "... h w"]) -> Float32[Tensor, "... h w"]:
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low + _SMALLEST_PROBABILITY)


def _best_other(features: Float32[Tensor, "classes features h w"]) -> Float32[Tensor, "classes features h w"]:
    if len(features) == 1:
        return torch.zeros_like(features)
    others = [torch.cat([features[:i], features[i + 1 :]]).amax(0) for i in range(len(features))]
    return torch.stack(others)
