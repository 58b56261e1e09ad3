"""Read attention while a UNet runs, without touching what it computes.

Forward pre-hooks see the input of the chosen attention layers and compute their probabilities from the layers' own
projections; the layers themselves run as they are, whatever their attention processor. So the image is the plain
pipeline's bit for bit, and the cost is two projections and one softmax in the few layers that are read.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from dataset_diffusion.errors import ModelError
from dataset_diffusion.records import AttentionMaps

_LOGITS_AT_ONCE = 2**24
"""Attention logits computed at once: 64 MiB in float32, so that reading needs little memory beside the image."""


@dataclass(frozen=True)
class LayerChoice:
    """Attention layers of one resolution.

    Attributes:
        resolution: the shorter side of their grid at the model's own image size, in cells.
        prefixes: how their names may start; the empty string takes every layer of the resolution.
    """

    resolution: int
    prefixes: tuple[str, ...] = ("",)


class AttentionCapture:
    """A ``with`` block in which calls of the UNet add to running means of its attention.

    Args:
        unet: the diffusers UNet.
        class_states: text-encoder states of the class prompts, "b tokens width" (class-prompt cross-attention: the
            class prompt gives keys only and never touches the image).
        cross_attention: the layers whose cross-attention is averaged.
        self_attention: the layers whose self-attention is averaged.
        guided: whether a call's batch holds the unconditional half first (classifier-free guidance). Only the
            conditional half is read.
        latent_shape: (h, w) of the latents.
        native_shape: (h, w) of the latents at the model's own image size, by which layers have their resolutions.
        calls: which calls of the UNet to read, counted from 0; None reads every one.

    Raises:
        ModelError: the model has no such layers.
    """

    def __init__(
        self,
        unet: nn.Module,
        class_states: Float[Tensor, "b tokens width"],
        *,
        cross_attention: LayerChoice,
        self_attention: LayerChoice,
        guided: bool,
        latent_shape: tuple[int, int],
        native_shape: tuple[int, int],
        calls: Container[int] | None = None,
    ) -> None:
        self._class_states = class_states
        self._guided = guided
        cross_layers = choose_layers(unet, "attn2", cross_attention, native_shape)
        self_layers = choose_layers(unet, "attn1", self_attention, native_shape)
        # The layers of a choice share one resolution, hence one grid.
        grids = _layer_grids(unet, latent_shape)
        self.cross_shape = grids[_block_of(cross_layers[0])]
        self.self_shape = grids[_block_of(self_layers[0])]
        self._readers = dict.fromkeys(cross_layers, self._read_cross_attention)
        self._readers |= dict.fromkeys(self_layers, self._read_self_attention)
        self._unet = unet
        self._calls = calls
        self._call = -1
        self._reading = True
        self._cross = _RunningMean()
        self._self = _RunningMean()
        self._handles: list[Any] = []

    def __enter__(self) -> AttentionCapture:
        self._handles = [self._unet.register_forward_pre_hook(self._count_call)]
        for name, read in self._readers.items():
            self._handles.append(self._unet.get_submodule(name).register_forward_pre_hook(read))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def maps(self, token_positions: Sequence[Sequence[Sequence[int]]]) -> list[AttentionMaps]:
        """The means over heads, layers and calls so far.

        Args:
            token_positions: per image and class, the positions of the class's tokens in the class prompt.

        Returns:
            One per image, on the CPU.
        """
        cross = self._cross.mean().transpose(1, 2)
        cross = cross.reshape(*cross.shape[:2], *self.cross_shape)
        self_attention = self._self.mean()
        return [
            AttentionMaps(
                torch.stack([tokens[positions].mean(0) for positions in classes]).cpu(),
                attention.cpu(),
                self.self_shape,
            )
            for tokens, attention, classes in zip(cross, self_attention, token_positions, strict=True)
        ]

    def _count_call(self, unet: nn.Module, args: tuple[Any, ...]) -> None:
        self._call += 1
        self._reading = self._calls is None or self._call in self._calls

    def _read_cross_attention(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self._reading:
            return
        states = self._class_states.to(dtype=args[0].dtype)
        self._cross.add(attention_probabilities(layer, self._conditional(args[0]), states))

    def _read_self_attention(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self._reading:
            return
        states = self._conditional(args[0])
        self._self.add(attention_probabilities(layer, states, states))

    def _conditional(self, states: Tensor) -> Tensor:
        return states[-len(self._class_states) :] if self._guided else states


@torch.no_grad()
def attention_probabilities(
    layer: Any, queries: Float[Tensor, "b cells width"], keys: Float[Tensor, "b tokens other"]
) -> Float32[Tensor, "b cells tokens"]:
    """``softmax(Q K^T / sqrt(d))`` of one attention layer, mean over its heads, a few heads at a time.

    Args:
        layer: a diffusers ``Attention`` module; its projections, norms, ``heads`` and ``scale`` are used.
        queries: states the layer attends from.
        keys: states it attends to.
    """
    query: Tensor = layer.to_q(queries).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    key: Tensor = layer.to_k(keys).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    query = query if layer.norm_q is None else layer.norm_q(query)
    key = key if layer.norm_k is None else layer.norm_k(key)
    if layer.upcast_attention:  # the model's float16 logits overflow
        query, key = query.float(), key.float()
    batch, heads, cells, _ = query.shape
    at_once = max(1, _LOGITS_AT_ONCE // (batch * cells * key.shape[2]))
    total = torch.zeros(batch, cells, key.shape[2], device=query.device)
    for some, their_keys in zip((query * layer.scale).split(at_once, 1), key.split(at_once, 1), strict=True):
        total += (some @ their_keys.transpose(-1, -2)).softmax(-1, dtype=torch.float32).sum(1)
    return total / heads


def choose_layers(unet: nn.Module, suffix: str, choice: LayerChoice, native_shape: tuple[int, int]) -> list[str]:
    """Names of the attention layers (``attn1`` self, ``attn2`` cross) that a choice takes.

    Args:
        unet: the diffusers UNet.
        suffix: ``attn1`` or ``attn2``.
        choice: resolution and names.
        native_shape: (h, w) of the latents at the model's own image size.

    Raises:
        ModelError: the model has no such layer; the message lists the resolutions and blocks it has.
    """
    resolutions = {block: min(grid) for block, grid in _layer_grids(unet, native_shape).items()}
    names = [name for name, _ in unet.named_modules() if name.endswith(f".{suffix}")]
    chosen = [
        name for name in names if resolutions[_block_of(name)] == choice.resolution and name.startswith(choice.prefixes)
    ]
    if not chosen:
        there = sorted({f"{resolutions[_block_of(name)]} in {_block_of(name)}" for name in names})
        kind = "self" if suffix == "attn1" else "cross"
        raise ModelError(
            f"the model has no {kind}-attention layer of that resolution and name",
            got=f"{choice.resolution} in {', '.join(choice.prefixes) or 'any block'}",
            expected=f"one of {'; '.join(there)}",
        )
    return chosen


def _block_of(layer_name: str) -> str:
    """``up_blocks.1.attentions.0...`` -> ``up_blocks.1``; ``mid_block.attentions...`` -> ``mid_block``."""
    parts = layer_name.split(".")
    return parts[0] if parts[0] == "mid_block" else ".".join(parts[:2])


def _layer_grids(unet: Any, latent_shape: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Grid of every block. Each down block but the last halves it, rounding up."""
    grids = [latent_shape]
    for _ in unet.down_blocks[1:]:
        height, width = grids[-1]
        grids.append(((height + 1) // 2, (width + 1) // 2))
    down = {f"down_blocks.{i}": grid for i, grid in enumerate(grids)}
    up = {f"up_blocks.{i}": grid for i, grid in enumerate(reversed(grids))}
    return {**down, "mid_block": grids[-1], **up}


class _RunningMean:
    """Float32 mean over layers and calls, kept as a sum."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, probabilities: Tensor) -> None:
        self._sum = probabilities if self._sum is None else self._sum.add_(probabilities)
        self._count += 1

    def mean(self) -> Tensor:
        if self._sum is None:
            raise ModelError("no attention was read", fix="run the UNet inside the capture's with block")
        return self._sum / self._count
