"""Read the attention of diffusion transformers by a tap, with the class prompt as a stream of its own.

The class words go through the network's own blocks beside the image: each block is called once more with them as its
text. There they attend to the image and to one another; the image never attends to them. How much it would is read from
its queries: a softmax over all that it attends to and the class words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dataset_diffusion.diffusion.capture import (
    AttentionLayers,
    AttentionReader,
    TokenPositions,
    columns_to_keep,
)
from dataset_diffusion.diffusion.families.base import Call, Family, Texts
from dataset_diffusion.diffusion.softmax import joined_mask, self_attention, token_probabilities
from dataset_diffusion.diffusion.tap import AttentionTap, Places, SeenAttention, take
from dataset_diffusion.errors import ModelError
from dataset_diffusion.records import AttentionMaps


class TappedCapture(AttentionReader):
    """The reader of a transformer.

    Args:
        family: the network and what is known of it.
        texts: the class prompts; None reads the text prompt's own tokens.
        cross_attention: the layers whose attention to the classes is averaged; or, to keep layers and heads apart, the
            grid of each by its name.
        self_attention: the layers whose attention among the image's cells is averaged; its grid may be coarser.
        grid: (h, w) of the image's tokens.
        pool: how many of them a side make a cell of the self-attention's grid.
        token_positions: where the tokens of each class are among the text tokens.
        start: per image, where the start token is.
        guided: whether the network draws negative prompts too.
        calls: which calls of the network for the text prompt to read, counted from 0; None reads every one.
    """

    def __init__(
        self,
        family: Family,
        texts: Texts | None,
        *,
        cross_attention: AttentionLayers | Mapping[str, tuple[int, int]],
        self_attention: AttentionLayers,
        grid: tuple[int, int],
        pool: int,
        token_positions: TokenPositions,
        start: Sequence[int],
        guided: bool,
        calls: Container[int] | None = None,
    ) -> None:
        super().__init__(
            family.network,
            token_positions,
            self_attention.grid,
            {} if isinstance(cross_attention, AttentionLayers) else cross_attention,
        )
        self._family, self._texts, self._grid = family, texts, grid
        self._pool, self._start_places = pool, start
        self._averaged = set(cross_attention.names) if isinstance(cross_attention, AttentionLayers) else set()
        self._own = set(self_attention.names)
        wanted = self._averaged | set(self._layers) | self._own
        layers = list(family.layers())
        self._blocks = layers[: 1 + max(layers.index(name) for name in wanted)]
        self._guided, self._calls, self._count = guided, calls, -1
        self._inside = False
        self._taps: list[AttentionTap] = []
        self._seen: set[str] = set()
        self._network_call: Call = {}
        self._block_call: Call = {}

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        while self._taps:
            self._close_tap()

    def maps(self) -> list[AttentionMaps]:
        """As the base class says."""
        cross = self._cross.mean().transpose(1, 2)
        return [
            AttentionMaps(
                tokens[1 : 1 + len(classes)].reshape(-1, *self._grid).cpu(), attention.cpu(), self._self_shape
            )
            for tokens, attention, classes in zip(cross, self._self.mean(), self._token_positions, strict=True)
        ]

    def _hooks(self) -> Iterator[Any]:
        yield self._network.register_forward_pre_hook(self._begin, with_kwargs=True)
        yield self._network.register_forward_hook(self._finish)
        for name in self._blocks:
            block = self._network.get_submodule(name)
            attention = self._network.get_submodule(self._family.layers()[name])
            yield block.register_forward_pre_hook(self._enter_block, with_kwargs=True)
            yield block.register_forward_hook(partial(self._leave_block, name))
            yield attention.register_forward_pre_hook(partial(self._open_tap, name, self._see), with_kwargs=True)
            yield attention.register_forward_hook(self._leave_attention, always_call=True)
            if not self._family.is_joint and name in self._own:
                yield from self._self_hooks(name, block.get_submodule(self._family.self_attention))

    def _self_hooks(self, name: str, layer: nn.Module) -> Iterator[Any]:
        if self._family.linear:
            yield layer.register_forward_pre_hook(self._read_linear, with_kwargs=True)
        else:
            yield layer.register_forward_pre_hook(partial(self._open_tap, name, self._see_self), with_kwargs=True)
            yield layer.register_forward_hook(self._leave_attention, always_call=True)

    # The network

    @property
    def _cells(self) -> int:
        return self._grid[0] * self._grid[1]

    def _begin(self, network: nn.Module, args: Any, kwargs: Call) -> None:
        self._count += 1
        number, unconditional = self._count, False
        if self._guided and self._family.guidance == "own call":
            number, unconditional = self._count // 2, bool(self._count % 2)
        self._reading = not unconditional and (self._calls is None or number in self._calls)
        self._seen = set()
        if not self._reading:
            return
        self._network_call = bind(network, args, kwargs)
        if self._texts is not None:
            self._inside = True
            try:
                self._tokens, self._extra = self._family.class_tokens(self._network_call, self._texts)
            finally:
                self._inside = False

    def _finish(self, network: nn.Module, args: Any, output: Any) -> None:
        if self._reading and len(self._seen) < len(self._blocks):
            skipped = next(name for name in self._blocks if name not in self._seen)
            raise ModelError(
                "the network skips blocks, so that attention cannot be read",
                got=f"no call of {skipped}",
                fix="turn its cache off: pipeline.transformer.disable_cache()",
            )

    # Its blocks

    def _enter_block(self, block: nn.Module, args: Any, kwargs: Call) -> None:
        if self._reading and not self._inside:
            self._block_call = bind(block, args, kwargs)

    def _leave_block(self, name: str, block: nn.Module, args: Any, output: Any) -> None:
        if self._reading and not self._inside and name not in self._seen:
            raise ModelError(
                "a layer computes its attention where it cannot be read",
                got=f"{name}, whose attention is not torch's scaled_dot_product_attention",
                fix="pipeline.transformer.set_attention_backend('native'), without DIFFUSERS_ATTN_BACKEND and xformers",
            )

    def _open_tap(
        self, name: str, see: Callable[[str, SeenAttention], Tensor], layer: nn.Module, args: Any, kwargs: Call
    ) -> None:
        if self._reading and not self._inside:
            self._attention, self._attention_call = layer, bind(layer, args, kwargs)
            tap = AttentionTap(partial(see, name))
            tap.__enter__()  # type: ignore[no-untyped-call]
            self._taps.append(tap)

    def _leave_attention(self, layer: nn.Module, args: Any, output: Any) -> None:
        if self._taps and not self._inside:
            self._close_tap()

    def _close_tap(self) -> None:
        self._taps.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    # What is seen there

    @torch.no_grad()
    def _see(self, name: str, seen: SeenAttention) -> Tensor:
        output = seen.run()
        if name in self._seen:
            return output
        self._seen.add(name)
        self._inside = True
        try:
            self._read(name, self._conditional(seen))
        finally:
            self._inside = False
        return output

    def _see_self(self, name: str, seen: SeenAttention) -> Tensor:
        ours = self._conditional(seen)
        self._add_self(ours.query, ours.key, ours.scale)
        return seen.run()

    def _read_linear(self, layer: Any, args: Any, kwargs: Call) -> None:
        if not self._reading or self._inside:
            return
        states = self._rows(bind(layer, args, kwargs)["hidden_states"])
        query, key = layer.to_q(states), layer.to_k(states)
        query = query if layer.norm_q is None else layer.norm_q(query)
        key = key if layer.norm_k is None else layer.norm_k(key)
        query, key = (one.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for one in (query, key))
        self._add_self(query, key, 1.0)

    def _read(self, name: str, seen: SeenAttention) -> None:
        cells: Places = slice(None)
        everything: Places = slice(None)
        if self._family.is_joint:
            cells, everything = self._family.image_places(self._network_call, self._cells, seen.query.shape[2])
        query = take(seen.query, cells)
        keys, values = (take(states, everything) for states in (seen.key, seen.value))
        key, columns, mask = self._keys(seen, self._class_keys(name, keys, values))
        if name in self._averaged or name in self._layers:
            found = token_probabilities(query, key, columns.to(key.device), mask=mask, scale=seen.scale)
            if name in self._averaged:
                self._cross.add(found.mean(1))
            else:
                self._layers[name][1].add(found)
        if name in self._own and self._family.is_joint:
            self._add_self(query, take(seen.key, cells), seen.scale)

    def _keys(self, seen: SeenAttention, class_keys: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys that the softmax is over, what each counts of each class, and which of them may be seen."""
        joint, there = self._family.is_joint, seen.key.shape[2]
        if class_keys is None or self._texts is None:
            shift = self._family.text_start(self._cells) if joint else 0
            places = [[[p + shift for p in tokens] for tokens in image] for image in self._token_positions]
            columns = columns_to_keep(places, there, [place + shift for place in self._start_places])
            return seen.key, columns, _image_rows(seen.mask)
        extra = class_keys.shape[2]
        columns = columns_to_keep(self._token_positions, extra, self._start_places)
        more = self._family.class_mask(self._texts)
        if not joint:
            return class_keys, columns, None if more is None else more[:, None, None]
        mask = joined_mask(_image_rows(seen.mask), there, more, extra)
        return torch.cat([seen.key, class_keys], 2), functional.pad(columns, (0, 0, there, 0)), mask

    def _class_keys(self, name: str, image_key: Tensor, image_value: Tensor) -> Tensor | None:
        """The class prompt's keys in a layer; in a joint one it attends to the image there, and goes on to the next."""
        texts = self._texts
        if texts is None:
            return None
        keys: list[Tensor] = []
        if not self._family.is_joint:
            call = self._attention_call
            image = self._rows(call["hidden_states"])[:, :1]
            with AttentionTap(partial(_keep_keys, keys)):
                self._attention(image, encoder_hidden_states=self._tokens)
            return keys[0]
        count = self._tokens.shape[1]

        def see(seen: SeenAttention) -> Tensor:
            if keys:  # another layer of the block, among the image's tokens
                return seen.run()
            total = seen.query.shape[2]
            text = slice(total - count, total) if self._family.image_first else slice(0, count)
            keys.append(seen.key[:, :, text])
            mask = joined_mask(None, image_key.shape[2], self._family.class_mask(texts), count)
            output = torch.zeros_like(seen.query)  # of which the image's token gets nothing: it is thrown away
            output[:, :, text] = functional.scaled_dot_product_attention(
                seen.query[:, :, text],
                torch.cat([image_key, keys[0]], 2),
                torch.cat([image_value, seen.value[:, :, text]], 2),
                attn_mask=mask,
                scale=seen.scale,
            )
            return output

        call = {key: self._rows(value) for key, value in self._block_call.items()}
        with AttentionTap(see):
            output = self._network.get_submodule(name)(**self._family.class_call(call, self._tokens, self._extra))
        if name != self._blocks[-1]:  # the network's last block may have no text any more
            self._tokens = self._family.text_of(output)
        return keys[0]

    def _add_self(self, query: Tensor, key: Tensor, scale: float) -> None:
        linear = self._family.linear
        self._self.add(self_attention(query, key, scale=scale, grid=self._grid, pool=self._pool, linear=linear))

    # The conditional half

    def _conditional(self, seen: SeenAttention) -> SeenAttention:
        return seen.rows(self._half) if self._is_doubled else seen

    def _rows(self, value: Any) -> Any:
        """An argument's part for the text prompt, where it is a tensor of the whole batch."""
        doubled = self._is_doubled and isinstance(value, Tensor) and len(value) == 2 * self._images
        return value[self._half] if doubled else value

    @property
    def _images(self) -> int:
        return len(self._token_positions)

    @property
    def _is_doubled(self) -> bool:
        return self._guided and self._family.guidance != "own call"

    @property
    def _half(self) -> slice:
        return slice(self._images, None) if self._family.guidance == "last half" else slice(0, self._images)


def _keep_keys(keys: list[Tensor], seen: SeenAttention) -> Tensor:
    keys.append(seen.key)
    return seen.run()


def bind(module: nn.Module, args: tuple[Any, ...], kwargs: Call) -> Call:
    """The arguments of a module's call by name."""
    bound = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
    more = bound.pop("kwargs", {})
    bound.pop("self", None)
    return {**bound, **more}


def _image_rows(mask: Tensor | None) -> Tensor | None:
    """A mask of the logits for the image's rows, which are alike, as are the heads."""
    return mask if mask is None or mask.ndim < 4 else mask[:, :1, -1:]
