"""The panels of the picture, each on axes of its own."""

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from .checks import check_future, check_history
from .prediction import WAYPOINTS_PER_S, Prediction
from .scene import Scene

NARROWEST_VIEW_M = 12.0
FONT = "DejaVu Sans"
INK, MUTED = "#1c2330", "#6b7280"
PREDICTED: dict[str, Any] = {"linewidth": 1.8, "alpha": 0.85}
DRIVEN: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 1.6, "zorder": 4}
HISTORY: dict[str, Any] = {"color": MUTED, "linewidth": 2.2, "zorder": 3}
STYLE: dict[Any, Any] = {
    "font.family": FONT,
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}


def draw_camera(axes: Axes, name: str, image: NDArray[np.uint8]) -> None:
    """`image`: (height, width, 3) RGB."""
    axes.imshow(image)
    axes.set_title(f"{name} at t0", fontweight="normal", fontsize=9, parse_math=False)
    axes.set_anchor("W")
    axes.axis("off")


def draw_from_above(axes: Axes, scene: Scene, prediction: Prediction) -> None:
    """x forward is up, y left is left."""
    history, _ = check_history(scene.ego_history_xyz, scene.ego_history_rot)
    axes.plot(history[:, 1], history[:, 0], **HISTORY)
    for index, style in _trajectories(prediction):
        xyz = _from_origin(prediction.pred_xyz[0][index])
        axes.plot(xyz[:, 1], xyz[:, 0], **style)
        axes.plot(xyz[-1, 1], xyz[-1, 0], "o", color=style["color"], markersize=4)
    if scene.ego_future_xyz is not None:
        driven = _from_origin(check_future(scene.ego_future_xyz))
        axes.plot(driven[:, 1], driven[:, 0], **DRIVEN)
    axes.plot(0, 0, "^", color=INK, markersize=10, zorder=5)
    # A car that hardly moves is shown on a few metres, not on a few centimetres.
    axes.update_datalim(NARROWEST_VIEW_M / 2 * np.array([[-1, -1], [1, 1]]))
    axes.autoscale_view()
    axes.invert_xaxis()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(title="From above", xlabel="y, left (m)", ylabel="x, forward (m)")
    axes.legend(handles=_legend(scene, prediction), loc="best")


def draw_speed(axes: Axes, scene: Scene, prediction: Prediction) -> None:
    """Metres per second before and after t0, from the positions."""
    history, _ = check_history(scene.ego_history_xyz, scene.ego_history_rot)
    halfway_s = prediction.timestamps_s - 0.5 / WAYPOINTS_PER_S
    axes.plot(-halfway_s[: len(history) - 1][::-1], speeds_mps(history), **HISTORY)
    for index, style in _trajectories(prediction):
        axes.plot(halfway_s, speeds_mps(_from_origin(prediction.pred_xyz[0][index])), **style)
    if scene.ego_future_xyz is not None:
        axes.plot(halfway_s, speeds_mps(_from_origin(check_future(scene.ego_future_xyz))), **DRIVEN)
    axes.set_ylim(0, max(1.0, axes.get_ylim()[1] * 1.1))
    axes.set(title="Speed (m/s)", xlabel="seconds after t0")
    axes.axvline(0, color=MUTED, linewidth=0.8)


def draw_curvature(axes: Axes, prediction: Prediction) -> None:
    """1/m, as the model answered it."""
    start_s = prediction.timestamps_s - 1 / WAYPOINTS_PER_S  # an action leads to its waypoint
    for index, style in _trajectories(prediction):
        axes.plot(start_s, prediction.action[0][index][:, 1], **style)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.02), max(high, 0.02))  # a straight road is not drawn as noise
    axes.set(title="Curvature (1/m), left is positive", xlabel="seconds after t0")
    axes.axhline(0, color=MUTED, linewidth=0.8)


def draw_thoughts(axes: Axes, lines: list[tuple[int, str]]) -> None:
    """`lines`: (sample, text)."""
    axes.set(title="Reasoning", xlim=(0, 1), ylim=(len(lines), 0))
    axes.axis("off")
    for row, (sample, line) in enumerate(lines):
        if row == 0 or lines[row - 1][0] != sample:
            axes.plot(0.006, row + 0.5, "s", color=color_of(sample), markersize=7, clip_on=False)
        # A model's dollar signs are not mathematics.
        axes.text(0.02, row + 0.5, line, va="center_baseline", parse_math=False, clip_on=True)


def speeds_mps(xyz: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) metres per second between n + 1 positions (n + 1, 3), 10 Hz: each halfway between two of them."""
    speeds: NDArray[np.float64] = np.linalg.norm(np.diff(xyz[:, :2].astype(np.float64), axis=0), axis=-1)
    return speeds * WAYPOINTS_PER_S


def _trajectories(prediction: Prediction) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """((set, sample), line style): a colour per thought, dotted outside the checkpoint's bounds."""
    for index in np.ndindex(prediction.cot.shape[1:]):
        dots = "-" if prediction.within_bounds[0][index] else ":"
        yield index, {**PREDICTED, "color": color_of(index[1]), "linestyle": dots}


def _legend(scene: Scene, prediction: Prediction) -> list[Line2D]:
    predicted = {**PREDICTED, "color": color_of(0)}
    entries = [Line2D([], [], label="history, 1.5 s", **HISTORY), Line2D([], [], label="predicted, 6.4 s", **predicted)]
    if not prediction.within_bounds.all():
        entries.append(Line2D([], [], label="predicted, out of bounds", **{**predicted, "linestyle": ":"}))
    if scene.ego_future_xyz is not None:
        entries.append(Line2D([], [], label="driven", **DRIVEN))
    return entries


def _from_origin(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((1, 3), xyz.dtype), xyz])


def color_of(sample: int) -> str:
    """#rrggbb of a thought's trajectories."""
    return to_hex(matplotlib.colormaps["tab10"](sample % 10))
