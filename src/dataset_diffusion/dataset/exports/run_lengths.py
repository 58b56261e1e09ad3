"""Masks as run lengths, in the ways of CVAT, Label Studio and COCO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8

_LONGEST = 2**16
_SIZES = (2, 4, 8, 16)
"""Bits that a length may take; encoding always takes the last."""


def run_lengths(pixels: UInt8[np.ndarray, " pixels"]) -> list[int]:
    """Lengths of the runs of 0 and 1 in turn, 0 first.

    Example:
        >>> run_lengths(np.array([1, 1, 0, 1], np.uint8))
        [0, 2, 1, 1]
    """
    ends = np.flatnonzero(np.diff(pixels, prepend=np.uint8(0)))
    lengths: list[int] = np.diff(ends, prepend=0, append=pixels.size).tolist()
    return lengths


def from_run_lengths(lengths: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask of (height, width) that row by row has these `run_lengths`; a ValueError where they do not fill it."""
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(size)


def encode_brush(mask: UInt8[np.ndarray, "h w"]) -> list[int]:
    """A mask of 0 and 1 as the bytes of Label Studio's brush: run lengths of RGBA levels, packed into bits.

    A header (32 bits: how many levels; 5: bits a level; four times 4: bits of a length), then blocks: a bit that says
    whether one level repeats or each is given, 2 bits that choose the size of the length, the length and the levels.
    All sizes are written less one.
    """
    bits = [f"{mask.size * 4:032b}{8 - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for number, length in enumerate(run_lengths(mask.ravel())):
        level = f"{255 * (number % 2):08b}"
        for left in range(4 * length, 0, -_LONGEST):
            bits.append(f"111{min(left, _LONGEST) - 1:016b}{level}")
    joined = np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")
    packed: list[int] = np.packbits(joined).tolist()
    return packed


def decode_brush(data: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask of (height, width) that bytes of Label Studio's brush hold; a ValueError where they hold none."""
    bits = "".join(f"{byte:08b}" for byte in bytes(data))
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise ValueError("the brush's bytes end too early")
        return int(bits[place - count : place], 2)

    total, level_bits = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    if total != 4 * size[0] * size[1]:
        raise ValueError(f"{total} levels for {size[0]} x {size[1]} pixels")
    levels: list[int] = []
    while len(levels) < total:
        repeats = read(1)
        length = read(sizes[read(2)]) + 1
        levels += [read(level_bits)] * length if repeats else [read(level_bits) for _ in range(length)]
    return np.array(levels[:total]).reshape(*size, 4)[..., 3] > 0
