"""Read attention while a network runs, without touching what it computes.

Forward pre-hooks see the input of the chosen attention layers and compute their probabilities from the layers' own
projections; the layers themselves run as they are, whatever their attention processor. So the image is the plain
pipeline's bit for bit, and the cost is two projections and one softmax in the few layers that are read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from dataset_diffusion.errors import ModelError
from dataset_diffusion.records import AttentionMaps, LayerMaps

LOGITS_AT_ONCE = 2**24
"""Attention logits computed at once: 64 MiB in float32, so that reading needs little memory beside the image."""


@dataclass(frozen=True)
class AttentionLayers:
    """Attention layers whose maps share one grid, so that they can be averaged.

    Attributes:
        names: the layers, as submodules of the network.
        grid: (h, w) of the cells they attend from.
    """

    names: tuple[str, ...]
    grid: tuple[int, int]


TokenPositions = Sequence[Sequence[Sequence[int]]]
"""Per image and class, the positions of the class's tokens in what is read against."""


class AttentionReader(ABC):
    """A ``with`` block in which calls of a network add to running means of its attention.

    Args:
        network: what denoises.
        token_positions: where the tokens of each class are in what is read against.
        self_shape: (h, w) of the self-attention's grid.
        layers: the grid of each cross-attention layer by its name, to keep layers and heads apart; empty where they are
            averaged.
    """

    def __init__(
        self,
        network: nn.Module,
        token_positions: TokenPositions,
        self_shape: tuple[int, int],
        layers: Mapping[str, tuple[int, int]],
    ) -> None:
        self._network = network
        self._token_positions = token_positions
        self._self_shape = self_shape
        self._cross, self._self = RunningMean(), RunningMean()
        self._layers = {name: (grid, RunningMean()) for name, grid in layers.items()}
        self._reading = True
        self._handles: list[Any] = []

    def __enter__(self) -> AttentionReader:
        self._handles = list(self._hooks())
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @abstractmethod
    def maps(self) -> list[AttentionMaps]:
        """The means over heads, layers and calls so far, one per image, on the CPU."""

    def layer_maps(self) -> list[LayerMaps]:
        """The means over calls so far of every layer and head, one per image, on the CPU."""
        means = ((grid, mean.mean().transpose(2, 3)) for grid, mean in self._layers.values())
        # Each "b heads tokens h w", the start token first.
        layers = [mean.reshape(*mean.shape[:3], *grid).cpu() for grid, mean in means]
        return [
            LayerMaps(
                tuple(layer[image][:, [*range(1, len(classes) + 1), 0]] for layer in layers),
                attention.cpu(),
                self._self_shape,
            )
            for image, (attention, classes) in enumerate(zip(self._self.mean(), self._token_positions, strict=True))
        ]

    @abstractmethod
    def _hooks(self) -> Iterator[Any]:
        """Register hooks on the network; they are removed when the block ends."""


class AttentionCapture(AttentionReader):
    """The reader of a UNet, whose attention layers take their text as an argument.

    Args:
        network: what denoises; its attention layers take their states as first argument.
        class_states: text-encoder states of the class prompts, "b tokens width" (class-prompt cross-attention: the
            class prompt gives keys only and never touches the image).
        cross_attention: the layers whose cross-attention is averaged; or, to keep layers and heads apart, the grid of
            each layer by its name.
        self_attention: the layers whose self-attention is averaged.
        token_positions: where the tokens of each class are in the class prompt. The start token is the first.
        guided: whether a call's batch holds the unconditional half first (classifier-free guidance). Only the
            conditional half is read.
        calls: which calls of the network to read, counted from 0; None reads every one.
    """

    def __init__(
        self,
        network: nn.Module,
        class_states: Float[Tensor, "b tokens width"],
        *,
        cross_attention: AttentionLayers | Mapping[str, tuple[int, int]],
        self_attention: AttentionLayers,
        token_positions: TokenPositions,
        guided: bool,
        calls: Container[int] | None = None,
    ) -> None:
        super().__init__(
            network,
            token_positions,
            self_attention.grid,
            {} if isinstance(cross_attention, AttentionLayers) else cross_attention,
        )
        self._class_states = class_states
        self._guided = guided
        self._readers: dict[str, Any] = {}
        if isinstance(cross_attention, AttentionLayers):
            self._cross_shape = cross_attention.grid
            self._readers |= dict.fromkeys(cross_attention.names, self._read_cross_attention)
        else:
            self._columns = columns_to_keep(token_positions, class_states.shape[1]).to(class_states.device)[:, None]
            self._readers |= {name: partial(self._read_heads, mean) for name, (_, mean) in self._layers.items()}
        self._readers |= dict.fromkeys(self_attention.names, self._read_self_attention)
        self._calls = calls
        self._call = -1

    def maps(self) -> list[AttentionMaps]:
        """As the base class says."""
        cross = self._cross.mean().transpose(1, 2)
        cross = cross.reshape(*cross.shape[:2], *self._cross_shape)
        return [
            AttentionMaps(
                torch.stack([tokens[positions].mean(0) for positions in classes]).cpu(),
                attention.cpu(),
                self._self_shape,
            )
            for tokens, attention, classes in zip(cross, self._self.mean(), self._token_positions, strict=True)
        ]

    def _hooks(self) -> Iterator[Any]:
        yield self._network.register_forward_pre_hook(self._count_call)
        for name, read in self._readers.items():
            yield self._network.get_submodule(name).register_forward_pre_hook(read)

    def _count_call(self, network: nn.Module, args: tuple[Any, ...]) -> None:
        self._call += 1
        self._reading = self._calls is None or self._call in self._calls

    def _read_cross_attention(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self._reading:
            return
        states = self._class_states.to(dtype=args[0].dtype)
        self._cross.add(attention_probabilities(layer, self._conditional(args[0]), states))

    def _read_heads(self, mean: RunningMean, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self._reading:
            return
        states = self._class_states.to(dtype=args[0].dtype)
        kept = [heads @ self._columns for heads in probabilities_by_head(layer, self._conditional(args[0]), states)]
        mean.add(torch.cat(kept, dim=1))

    def _read_self_attention(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self._reading:
            return
        states = self._conditional(args[0])
        self._self.add(attention_probabilities(layer, states, states))

    def _conditional(self, states: Tensor) -> Tensor:
        return states[-len(self._class_states) :] if self._guided else states


def attention_probabilities(
    layer: Any,
    queries: Float[Tensor, "b cells width"],
    keys: Float[Tensor, "b tokens other"],
    logits_at_once: int = LOGITS_AT_ONCE,
) -> Float32[Tensor, "b cells tokens"]:
    """The mean over its heads of one attention layer's probabilities; see `probabilities_by_head`."""
    total = torch.zeros(*queries.shape[:2], keys.shape[1], device=queries.device)
    for heads in probabilities_by_head(layer, queries, keys, logits_at_once):
        total += heads.sum(1)
    return total / int(layer.heads)


@torch.no_grad()
def probabilities_by_head(
    layer: Any,
    queries: Float[Tensor, "b cells width"],
    keys: Float[Tensor, "b tokens other"],
    logits_at_once: int = LOGITS_AT_ONCE,
) -> Iterator[Float32[Tensor, "b heads cells tokens"]]:
    """``softmax(Q K^T / sqrt(d))`` of one attention layer, a few heads at a time.

    Args:
        layer: a diffusers ``Attention`` module; its projections, norms, ``heads`` and ``scale`` are used.
        queries: states the layer attends from.
        keys: states it attends to.
        logits_at_once: how many to hold in memory, by which the heads are taken a few at a time.
    """
    query: Tensor = layer.to_q(queries).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    key: Tensor = layer.to_k(keys).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    query = query if layer.norm_q is None else layer.norm_q(query)
    key = key if layer.norm_k is None else layer.norm_k(key)
    if layer.upcast_attention:  # the model's float16 logits overflow
        query, key = query.float(), key.float()
    batch, _, cells, _ = query.shape
    at_once = max(1, logits_at_once // (batch * cells * key.shape[2]))
    for some, their_keys in zip((query * layer.scale).split(at_once, 1), key.split(at_once, 1), strict=True):
        yield (some @ their_keys.transpose(-1, -2)).softmax(-1, dtype=torch.float32)


def columns_to_keep(
    token_positions: TokenPositions, tokens: int, start: Sequence[int] | None = None
) -> Float32[Tensor, "b tokens kept"]:
    """What a row of probabilities is multiplied by: first the start token, then the mean of each class's tokens.

    Args:
        token_positions: per image and class.
        tokens: how many a row is of.
        start: where each image's start token is; None takes the first.
    """
    columns = torch.zeros(len(token_positions), tokens, 1 + max(map(len, token_positions)))
    for image, classes in enumerate(token_positions):
        columns[image, start[image] if start else 0, 0] = 1
        for number, positions in enumerate(classes, start=1):
            columns[image, positions, number] = 1 / len(positions)
    return columns


class RunningMean:
    """Float32 mean over layers and calls, kept as a sum."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, probabilities: Tensor) -> None:
        self._sum = probabilities if self._sum is None else self._sum.add_(probabilities)
        self._count += 1

    def mean(self) -> Tensor:
        if self._sum is None:
            raise ModelError("no attention was read", fix="run the network inside the capture's with block")
        return self._sum / self._count
