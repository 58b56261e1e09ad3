"""Charts as SVG that takes its colours from the page around it, so that one drawing serves light and dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Integer
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter1d

INK, MUTED, LINE, ACCENT = "#1d2125", "#5d646d", "#e3e1db", "#0f766e"

# The drawing's colours are the fallbacks of the page's CSS variables.
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent"}

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 12,
    "grid.color": LINE,
    "grid.linewidth": 1,
    "text.color": INK,
    # Class names are the user's; one between dollar signs is not mathematics.
    "text.parse_math": False,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
    # Text stays text: it is searchable, and set in the page's own font.
    "svg.fonttype": "none",
}

_MAX_POINTS = 600
_MAX_ANNOTATED = 32
_STRONGEST = 0.75
"""Opacity of a full cell: the figures in it keep a contrast of 4.5 on light and on dark paper."""


def training_chart(steps: Sequence[int], losses: Sequence[float], width: int = 760, height: int = 300) -> str:
    """The loss over the steps, one at least, as an ``<svg>`` element of a width and height in CSS pixels.

    Every step, or as many as can be told apart, is faint, the moving average strong.
    """
    average = uniform_filter1d(np.asarray(losses, dtype=np.float64), size=max(1, len(losses) // 20), mode="nearest")
    shown = np.unique(np.linspace(0, len(losses) - 1, _MAX_POINTS).round().astype(int))

    def draw(axes: Axes) -> None:
        x = np.asarray(steps)[shown]
        axes.plot(x, np.asarray(losses)[shown], color=ACCENT, alpha=0.3, linewidth=1)
        axes.plot(x, average[shown], color=ACCENT, linewidth=2.5, solid_capstyle="round")
        axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
        axes.margins(x=0.01)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=max(3, width // 120), integer=True)
        axes.locator_params(axis="y", nbins=5)

    return _svg(draw, width, height)


def confusion_chart(confusion: Integer[np.ndarray, "classes classes"], names: Sequence[str]) -> str:
    """Which class (row) was taken for which (column), as an ``<svg>`` element: each row's shares, strong for many."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    annotated = len(names) <= _MAX_ANNOTATED
    cell, font_size = (38, 12) if annotated else (11, 9)

    def draw(axes: Axes) -> None:
        fade = LinearSegmentedColormap.from_list("fade", [to_rgba(ACCENT, alpha) for alpha in (0, _STRONGEST)])
        axes.imshow(shares, cmap=fade, vmin=0, vmax=1, interpolation="none")
        ticks = range(len(names))
        axes.set_xticks(ticks, labels=list(names), rotation=90)
        axes.set_yticks(ticks, labels=list(names))
        axes.tick_params(labelsize=font_size, length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.set(xlabel="prediction", ylabel="truth")
        axes.xaxis.set_label_position("top")
        axes.grid(visible=False)
        axes.spines[:].set(visible=True, color=LINE)
        for row, column in zip(*np.nonzero(shares >= 0.005), strict=True) if annotated else ():
            axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center_baseline", fontsize=11)

    side = cell * len(names) + 150
    return _svg(draw, width=side, height=side)


def _svg(draw: Callable[[Axes], None], width: int, height: int) -> str:
    """What ``draw`` draws, ``width`` x ``height`` CSS pixels where there is room and smaller where there is not."""
    buffer = io.StringIO()
    # Element ids follow from the drawing instead of chance, and differ between charts on one page.
    ids = {"svg.hashsalt": f"{width} x {height}"}
    with mpl.rc_context(_STYLE | ids), warnings.catch_warnings():
        # The page's font, not the one the drawing is measured with, has to have the glyphs of class names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        draw(figure.add_subplot())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _for_a_page(buffer.getvalue())


def _for_a_page(svg: str) -> str:
    """The ``<svg>`` element alone, its colours variables, without the ids that every drawing repeats."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"', r'\1 style="width: \2px"', svg, count=1)
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg)
    return re.sub(r"(?<=: )#\w{6}\b", lambda color: f"var({_VARIABLES[color[0]]}, {color[0]})", svg)
