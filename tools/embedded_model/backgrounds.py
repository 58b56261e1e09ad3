"""Textured backgrounds, drawn from noise. One function a kind; float images in [0, 1], "size size 3"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

Array = np.ndarray


def _noise(rng: Generator, size: int, blur: float | tuple[float, float]) -> Array:
    """Smooth noise, zero mean, unit spread, "size size 1"."""
    noise = gaussian_filter(rng.standard_normal((size, size)), blur, mode="wrap")
    return (noise / noise.std())[..., None]


def _ramp(size: int) -> Array:
    return np.linspace(0, 1, size)[:, None, None] * np.ones((1, size, 1))


def _tint(rng: Generator, colour: tuple[float, float, float], spread: float = 0.05) -> Array:
    return np.array(colour) + rng.uniform(-spread, spread, 3)


def grass(rng: Generator, size: int) -> Array:
    blades = _noise(rng, size, (2.5, 0.7))
    return _tint(rng, (0.35, 0.62, 0.24)) + 0.06 * blades * (1.0, 1.2, 0.6) + 0.03 * _noise(rng, size, 12)


def snow(rng: Generator, size: int) -> Array:
    return _tint(rng, (0.90, 0.93, 0.97), 0.03) + 0.025 * _noise(rng, size, 6) + 0.015 * _noise(rng, size, 0.8)


def sand(rng: Generator, size: int) -> Array:
    ripples = _noise(rng, size, (1.5, 9))
    return _tint(rng, (0.88, 0.76, 0.53)) + 0.035 * ripples + 0.02 * _noise(rng, size, 0.6)


def sea(rng: Generator, size: int) -> Array:
    waves = _noise(rng, size, (1.2, 6))
    return _tint(rng, (0.12, 0.42, 0.66)) + 0.06 * waves + 0.08 * (0.5 - _ramp(size))


def sky(rng: Generator, size: int) -> Array:
    clouds = np.clip(_noise(rng, size, (7, 12)) - 0.4, 0, 1)
    blue = _tint(rng, (0.47, 0.73, 0.95)) + 0.15 * (_ramp(size) - 0.5)
    return blue * (1 - 0.8 * clouds) + 0.8 * clouds


def night(rng: Generator, size: int) -> Array:
    dark = _tint(rng, (0.06, 0.08, 0.22), 0.03) + 0.06 * _ramp(size)
    stars = gaussian_filter((rng.random((size, size)) < 0.003).astype(float), 0.6)[..., None]
    return dark + 1.6 * stars


def wooden_table(rng: Generator, size: int) -> Array:
    grain = _noise(rng, size, (0.9, 14))
    planks = rng.uniform(-0.06, 0.06, 4)[(np.arange(size) * 4 // size)][:, None, None]
    gaps = (np.arange(size) % (size // 4) < 1)[:, None, None]
    return (_tint(rng, (0.58, 0.38, 0.20)) + 0.04 * grain + planks) * np.where(gaps, 0.6, 1.0)


def brick_wall(rng: Generator, size: int) -> Array:
    height, width = size // 8, size // 4
    row = np.arange(size)[:, None] // height
    column = (np.arange(size)[None, :] + (row % 2) * (width // 2)) // width
    shade = rng.uniform(-0.07, 0.07, (row.max() + 1, column.max() + 1))[row, column][..., None]
    across = (np.arange(size)[None, :] + (row % 2) * (width // 2)) % width < 2
    mortar = ((np.arange(size)[:, None] % height < 2) | across)[..., None]
    brick = _tint(rng, (0.66, 0.32, 0.25)) + shade + 0.02 * _noise(rng, size, 0.8)
    return np.where(mortar, 0.78 + 0.02 * _noise(rng, size, 1), brick)


BACKGROUNDS: dict[str, Callable[[Generator, int], Array]] = {
    "on the grass": grass,
    "in the snow": snow,
    "on the sand": sand,
    "by the sea": sea,
    "in the sky": sky,
    "at night": night,
    "on a wooden table": wooden_table,
    "in front of a brick wall": brick_wall,
}
"""How a caption says it -> how it is drawn."""
