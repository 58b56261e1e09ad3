"""What every labelling function does to its maps: take torch or NumPy, compute in float32, refuse NaN and infinity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from dataset_diffusion.errors import ConfigError, ModelError, whole_number


def float_maps(maps: Float[Tensor | np.ndarray, "*classes h w"], what: str) -> Float32[Tensor, "*classes h w"]:
    """The maps as a float32 tensor on their own device; ``what`` they are is for the error.

    Raises:
        ConfigError: there is no map, or the maps have no pixels.
        ModelError: a value is NaN or infinite, which half-precision models produce when they overflow.
    """
    try:
        tensor = torch.as_tensor(maps).float()
    except (TypeError, ValueError, RuntimeError):
        got, expected = type(maps).__name__, "a tensor or array of floats"
        raise ConfigError(f"the {what} are no maps", got=got, expected=expected) from None
    if tensor.numel() == 0:
        raise ConfigError(f"the {what} are empty", got=f"shape {tuple(tensor.shape)}", expected="at least one map")
    # NaN and infinity survive a sum, which is far cheaper than a test of every value. So may an overflow: then test.
    if not bool(tensor.sum().isfinite()) and not bool(tensor.isfinite().all()):
        raise ModelError(
            f"the {what} hold NaN or infinity",
            expected="finite values",
            fix="run the model with --dtype float32 or bfloat16",
        )
    return tensor


def resize(maps: Float32[Tensor, "classes h w"], size: tuple[int, int]) -> Float32[Tensor, "classes new_h new_w"]:
    """Bicubic resize to ``size`` = (height, width); like every bicubic filter it may overshoot its input's range.

    Two small products, since the filter is linear and separable: several times faster than torch's own interpolation.
    """
    rows, columns = (_bicubic(old, new).to(maps.device) for old, new in zip(maps.shape[1:], size, strict=True))
    return rows @ maps @ columns.T


@lru_cache(maxsize=16)
def _bicubic(old: int, new: int) -> Float32[Tensor, "new old"]:
    """The matrix that resizes ``old`` values to ``new``: what torch's bicubic filter makes of the identity."""
    with torch.inference_mode(mode=False):  # else its first caller decides whether others may use it in training
        return functional.interpolate(torch.eye(old)[None, None], size=(new, old), mode="bicubic")[0, 0]


def check_size(size: object, what: str) -> None:
    """Refuse a (height, width) that is not two positive whole numbers."""
    expected = "(height, width), both at least 1"
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ConfigError(f"bad {what}", got=repr(size), expected=expected)
    if min(whole_number(side, what) for side in size) < 1:
        raise ConfigError(f"bad {what}", got=tuple(size), expected=expected)


def check_axes(maps: Float[Tensor, "*_"], axes: str, what: str) -> None:
    """Refuse maps that have not the axes, as in ``"classes h w"``."""
    if maps.ndim != len(axes.split()):
        raise ConfigError(f"bad shape of the {what}", got=tuple(maps.shape), expected=f'"{axes}"')
