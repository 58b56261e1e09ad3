"""What every labelling function does to its maps: take torch or NumPy, compute in float32, refuse NaN and infinity."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from dataset_diffusion.errors import ConfigError, ModelError


def float_maps(maps: Float[Tensor | np.ndarray, "*classes h w"], what: str) -> Float32[Tensor, "*classes h w"]:
    """The maps as a float32 tensor on their own device; ``what`` they are is for the error.

    Raises:
        ConfigError: there is no map, or the maps have no pixels.
        ModelError: a value is NaN or infinite, which half-precision models produce when they overflow.
    """
    tensor = torch.as_tensor(maps).float()
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


def check_size(size: tuple[int, int], what: str) -> None:
    """Refuse a (height, width) that is not two positive whole numbers."""
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"bad {what}", got=tuple(size), expected="(height, width), both at least 1")
