"""Colours, letters and lines. Everything is drawn FINER times larger, and averaged at the end."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from alpamayo_client.text import printable
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from alpamayo_demo.road.ego import Ego

Array = NDArray[np.float64]
Colour = tuple[int, int, int]

FINER = 2
PAPER, INK, MUTED = (255, 255, 255), (28, 35, 48), (107, 114, 128)
RIGHT, WRONG = (22, 140, 70), (204, 45, 48)
PREDICTED, DRIVEN, ASPHALT = (0, 190, 255), (255, 222, 40), (84, 84, 89)


@dataclass(frozen=True, eq=False)
class Trail:
    """A way on the ground, (n, 2) metres in world coordinates."""

    xy: Array
    colour: Colour
    dashed: bool = False
    """And thinner."""


def trail(xyz: NDArray[np.float32], ego: Ego, colour: Colour, dashed: bool = False) -> Trail:
    """From the ego frame of `ego` (n, 3), beginning at the car."""
    in_ego = np.concatenate([np.zeros((1, 2)), xyz[:, :2].astype(np.float64)])
    return Trail(ego.to_world(in_ego), colour, dashed)


def pieces(xy: Array, dashed: bool) -> list[Array]:
    """The way, or its dashes: 1.2 m in every 2.4 m. Each (n, 2), with a point at least every 0.3 m."""
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    count = max(2, round(way[-1] / 0.3) + 1)
    at = np.linspace(0, way[-1], count)
    fine = np.stack([np.interp(at, way, xy[:, i]) for i in (0, 1)], axis=1)
    if not dashed:
        return [fine]
    return [fine[i : i + 5] for i in range(0, count - 1, 8)]


def canvas(width: int, height: int) -> Image.Image:
    """An empty page of so many pixels, times FINER."""
    return Image.new("RGB", (width * FINER, height * FINER), PAPER)


def finished(page: Image.Image) -> Image.Image:
    """As large as it was asked for."""
    return page.reduce(FINER)


def write(
    page: Image.Image, left: float, top: float, text: str, size: int, colour: Colour = INK, bold: bool = False
) -> float:
    """One line; its height is about 1.2 x `size`. Returns where it ends. Pixels."""
    letters = font(size, bold)
    ImageDraw.Draw(page).text((left * FINER, top * FINER), text, colour, letters)
    return left + letters.getlength(text) / FINER


def fitted(text: str, size: int, width: float, bold: bool = False) -> str:
    """As much of a model's text as `width` pixels hold."""
    letters, text = font(size, bold), printable(text) or "(no thought)"
    if letters.getlength(text) <= width * FINER:
        return text
    while letters.getlength(text + "…") > width * FINER:
        text = text[:-1]
    return text.rstrip() + "…"


@cache
def font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Matplotlib brings one along."""
    return ImageFont.truetype(findfont(f"DejaVu Sans:{'bold' if bold else 'regular'}"), size * FINER)
