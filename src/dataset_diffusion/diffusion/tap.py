"""See queries, keys and values as they enter an attention layer's own computation.

Whatever a layer does before (norms, rotary embeddings, adapters, fused projections) is done; and the original function
then runs with the original arguments, so that the image is the plain pipeline's bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Places = slice | Int[Tensor, "b tokens"]
"""Where tokens are in a sequence: the same for all images, or each image's own."""

_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@dataclass(frozen=True)
class SeenAttention:
    """One call of ``scaled_dot_product_attention``.

    Attributes:
        query: "b heads queries d".
        key, value: "b heads keys d", as many heads as the queries have (grouped keys are repeated).
        mask: what is added to the logits, or True where a key may be seen; None where all may.
        scale: what the dot products are multiplied by.
        run: computes what the layer asked for.
    """

    query: Float[Tensor, "b heads queries d"]
    key: Float[Tensor, "b heads keys d"]
    value: Float[Tensor, "b heads keys d"]
    mask: Float[Tensor, ...] | Bool[Tensor, ...] | None
    scale: float
    run: Callable[[], Tensor]

    def rows(self, of: slice) -> SeenAttention:
        """The same of some images of the batch."""
        mask = self.mask
        if mask is not None and mask.ndim == 4 and len(mask) == len(self.query):
            mask = mask[of]
        return replace(self, query=self.query[of], key=self.key[of], value=self.value[of], mask=mask)


class AttentionTap(TorchFunctionMode):
    """A ``with`` block in which every attention that is computed goes through ``see``, which returns its output."""

    def __init__(self, see: Callable[[SeenAttention], Tensor]) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **options)
        given = dict(zip(_ARGUMENTS, args, strict=False)) | options
        query, key, value = given["query"], given["key"], given["value"]
        if groups := query.shape[1] // key.shape[1] - 1:
            key, value = (states.repeat_interleave(groups + 1, 1) for states in (key, value))
        scale = given.get("scale") or query.shape[-1] ** -0.5
        return self._see(
            SeenAttention(query, key, value, given.get("attn_mask"), scale, partial(func, *args, **options))
        )


def take(states: Tensor, places: Places) -> Tensor:
    """Some tokens of states "b heads tokens d"."""
    if isinstance(places, slice):
        return states[:, :, places]
    return states.gather(2, places[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))
