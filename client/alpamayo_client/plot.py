"""A picture of a scene and its prediction. Importing this needs the extra `cli`."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .checks import check_frames
from .errors import InvalidRequestError
from .extras import extra
from .metrics import min_ade
from .prediction import Prediction
from .scene import Scene
from .text import printable, wrapped

try:
    import matplotlib
    import PIL.Image
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import findfont, get_font
    from matplotlib.gridspec import GridSpec
except ImportError as error:
    raise ImportError(f"pictures need more packages ({error}): {extra('cli')}") from error

from .panels import FONT, STYLE, draw_camera, draw_curvature, draw_from_above, draw_speed, draw_thoughts

WIDTH_IN, RIGHT_IN, TALLEST_CAMERA_IN, CHARTS_IN, LINE_IN, MARGINS_IN = 15.0, 9.8, 3.0, 3.2, 0.19, 1.3
CAMERAS_PER_ROW = 4
CHARACTERS_PER_LINE = 126
MAX_LINES = 18


def save_picture(
    path: str | Path | BinaryIO, scene: Scene, prediction: Prediction, *, with_thoughts: bool = True
) -> None:
    """Cameras, trajectories from above, speed and curvature over time, the thoughts; 1500 pixels wide.

    The format is what the file's name ends in, such as .png; an open file gets a PNG. Raises InvalidRequestError for an
    ending that is no format, OSError.
    """
    save_figure(path, lambda: draw(scene, prediction, with_thoughts=with_thoughts))


def save_figure(path: str | Path | BinaryIO, draw_it: Callable[[], Figure]) -> None:
    """In the style of all pictures. Raises like `save_picture`, before anything is drawn."""
    ending = Path(path).suffix.removeprefix(".") if isinstance(path, str | Path) else "png"
    formats = FigureCanvasAgg.get_supported_filetypes()
    if ending.lower() not in formats:
        raise InvalidRequestError(f"got {path}, wanted a name that ends in one of .{', .'.join(sorted(formats))}")
    with matplotlib.rc_context(STYLE):
        draw_it().savefig(path)


def draw(scene: Scene, prediction: Prediction, *, with_thoughts: bool = True) -> Figure:
    """The panels and their places."""

    def draw_other(axes: Axes) -> None:
        draw_curvature(axes, prediction)

    lines = thought_lines(prediction) if with_thoughts else []
    return laid_out(headline(scene, prediction), scene, prediction, lines, draw_other)


def laid_out(
    title: str, scene: Scene, prediction: Prediction, lines: list[tuple[int, str]], draw_other: Callable[[Axes], None]
) -> Figure:
    """The trajectories from above; beside them the cameras, the speed and another chart, and the thoughts.

    `lines`: of the thoughts, (sample, text); none: they have no panel.
    """
    images = newest_images(scene)
    columns = min(len(images), CAMERAS_PER_ROW)
    rows = -(-len(images) // columns)
    tallest = max(height / width for height, width, _ in (image.shape for image in images))
    camera_in = min(RIGHT_IN / columns * tallest, TALLEST_CAMERA_IN) + LINE_IN
    heights = [rows * camera_in, CHARTS_IN] + ([(len(lines) + 1) * LINE_IN] if lines else [])
    figure = Figure((WIDTH_IN, sum(heights) + MARGINS_IN), dpi=100)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")

    halves = GridSpec(1, 2, figure, width_ratios=[WIDTH_IN - RIGHT_IN, RIGHT_IN])
    draw_from_above(figure.add_subplot(halves[0]), scene, prediction)
    panels = halves[1].subgridspec(len(heights), 1, height_ratios=heights)
    cells = panels[0].subgridspec(rows, columns)
    names = scene.camera_names or [f"camera {i}" for i in range(len(images))]
    for i, image in enumerate(images):
        draw_camera(figure.add_subplot(cells[i]), shown(names[i]), image)
    charts = panels[1].subgridspec(1, 2)
    draw_speed(figure.add_subplot(charts[0]), scene, prediction)
    draw_other(figure.add_subplot(charts[1]))
    if lines:
        draw_thoughts(figure.add_subplot(panels[2]), lines)
    return figure


def newest_images(scene: Scene) -> list[NDArray[np.uint8]]:
    """Each camera's image at t0: (height, width, 3) RGB."""
    frames: NDArray[Any] = check_frames(scene.image_frames)
    if frames.dtype == np.uint8:
        return [camera[-1].transpose(1, 2, 0) for camera in frames]
    return [np.asarray(PIL.Image.open(io.BytesIO(camera[-1])).convert("RGB")) for camera in frames]


def headline(scene: Scene, prediction: Prediction) -> str:
    """How much was predicted, how to get it again, and how good it is if that is known."""
    _, sets, samples = prediction.cot.shape
    thoughts = "1 thought" if samples == 1 else f"{samples} thoughts"
    trajectories = "1 trajectory" if sets * samples == 1 else f"{sets * samples} trajectories"
    parts = [thoughts, trajectories, f"seed {prediction.seed}"]
    if scene.ego_future_xyz is not None:
        parts.append(f"minADE@{samples} {min_ade(prediction.pred_xyz, scene.ego_future_xyz):.2f} m")
    return "   ·   ".join(parts)


def thought_lines(prediction: Prediction) -> list[tuple[int, str]]:
    """(sample, line): the thoughts, shortened so that they fit the picture."""
    thoughts = prediction.cot[0, 0]
    first = thoughts if len(thoughts) <= MAX_LINES else thoughts[: MAX_LINES - 1]
    lines = []
    for sample, thought in enumerate(first):
        text = shown(thought) or "(empty)"
        if not prediction.reasoning_complete[0, 0, sample]:
            text = "[cut off] " + text
        lines += [(sample, line) for line in wrapped(text, CHARACTERS_PER_LINE, MAX_LINES // len(first))]
    if len(first) < len(thoughts):
        lines.append((len(first), f"… and {len(thoughts) - len(first)} more"))
    return lines


def shown(text: str) -> str:
    """One line of what the pictures' font has."""
    glyphs = get_font(findfont(FONT))
    return printable(text, lambda character: glyphs.get_char_index(ord(character)) != 0)
