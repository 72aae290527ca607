"""The picture of a comparison: the same scene under several thoughts. Importing this needs the extra `cli`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .plot import CHARTS_IN, LINE_IN, MARGINS_IN, WIDTH_IN, save_figure, thought_lines  # first: it names the extra
from .what_if import Comparison

# isort: split
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from .panels import INK, draw_from_above, draw_speed, draw_thoughts

MATRIX_IN = 3.4


def save_picture(path: str | Path, comparison: Comparison) -> None:
    """1500 pixels wide; the format is what the file's name ends in, such as .png."""
    save_figure(path, lambda: _draw(comparison))


def _draw(comparison: Comparison) -> Figure:
    scene, prediction = comparison.scene, comparison.prediction
    lines = thought_lines(prediction)
    heights = [MATRIX_IN, CHARTS_IN, (len(lines) + 1) * LINE_IN]
    figure = Figure((WIDTH_IN, sum(heights) + MARGINS_IN), dpi=100)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    given = len(comparison.thoughts) - 1
    words = f"What if: the model's own thought (0) and {given} given {'one' if given == 1 else 'ones'}"
    figure.suptitle(f"{words}   ·   seed {prediction.seed}", x=0.01, ha="left", fontsize=12, fontweight="bold")
    halves = GridSpec(1, 2, figure, width_ratios=[1, 1.9])
    draw_from_above(figure.add_subplot(halves[0]), scene, prediction)
    panels = halves[1].subgridspec(3, 1, height_ratios=heights)
    _draw_distances(figure.add_subplot(panels[0]), comparison.distances_m)
    draw_speed(figure.add_subplot(panels[1]), scene, prediction)
    draw_thoughts(figure.add_subplot(panels[2]), _numbered(lines))
    return figure


def _numbered(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """A thought's first line begins with its number; another one is indented."""
    first = {thought: i for i, (thought, _) in reversed(list(enumerate(lines)))}
    return [
        (thought, f"{thought}   {line}" if first[thought] == i else f"    {line}")
        for i, (thought, line) in enumerate(lines)
    ]


def _draw_distances(axes: Axes, apart_m: NDArray[np.float64]) -> None:
    """A number for every two thoughts, the darker the further."""
    n = len(apart_m)
    axes.imshow(apart_m, cmap="Blues", vmin=0, vmax=max(1.0, 1.4 * float(apart_m.max())))
    for i, j in np.ndindex(n, n):
        if i != j:
            axes.text(j, i, f"{apart_m[i, j]:.1f}", ha="center", va="center", color=INK, fontsize=9 if n < 12 else 6)
    names = [f"{i}" for i in range(n)]
    axes.set_xticks(range(n), names)
    axes.set_yticks(range(n), names)
    axes.grid(visible=False)
    axes.set(title="Metres between the outcomes of two thoughts, mean over 6.4 s")
