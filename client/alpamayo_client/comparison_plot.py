"""The picture of a comparison: the same scene under several thoughts. Importing this needs the extra `cli`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .plot import laid_out, save_figure, thought_lines  # first: it names the extra
from .what_if import Comparison

# isort: split
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .panels import INK


def save_picture(path: str | Path, comparison: Comparison) -> None:
    """1500 pixels wide; the format is what the file's name ends in, such as .png."""
    save_figure(path, lambda: _draw(comparison))


def _draw(comparison: Comparison) -> Figure:
    given = len(comparison.thoughts) - 1
    words = f"What if: the model's own thought (0) and {given} given {'one' if given == 1 else 'ones'}"
    title = f"{words}   ·   seed {comparison.prediction.seed}"
    lines = _numbered(thought_lines(comparison.prediction))

    def draw_other(axes: Axes) -> None:
        _draw_distances(axes, comparison.distances_m)

    return laid_out(title, comparison.scene, comparison.prediction, lines, draw_other)


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
    axes.set_anchor("W")
    axes.set(title="Metres between two outcomes, mean over 6.4 s")
