"""The road from above, the car's direction upwards."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from alpamayo_demo.drive.outline import outline
from alpamayo_demo.road.ego import Ego
from alpamayo_demo.road.render import ground
from alpamayo_demo.road.solids import Polygon, solids
from alpamayo_demo.road.world import World

from .ink import FINER, INK, PAPER, Trail, pieces

Array = NDArray[np.float64]

BEHIND_M = 8.0
SEEN_M = 75.0  # from the lower edge to the upper one


def from_above(world: World, ego: Ego, width: int, height: int, trails: list[Trail]) -> Image.Image:
    """So many pixels (times FINER)."""
    page = Image.fromarray(_ground(world, ego, width * FINER, height * FINER))
    pen = ImageDraw.Draw(page, "RGBA")

    def on_page(xy: Array) -> list[tuple[float, ...]]:
        return [tuple(point) for point in _on_page(xy, ego, page.width, page.height)]

    for solid in solids(world):
        for polygon in sorted(solid.polygons, key=lambda polygon: float(polygon.corners[:, 2].min())):
            _draw_solid(pen, on_page(polygon.corners[:, :2]), polygon)
    for trail in trails:
        for piece in pieces(trail.xy, trail.dashed):
            pen.line(on_page(piece), (*trail.colour, 220), FINER if trail.dashed else 2 * FINER, joint="curve")
    pen.polygon(on_page(outline(ego)), INK, PAPER, FINER)
    return page


def _draw_solid(pen: ImageDraw.ImageDraw, corners: list[tuple[float, ...]], polygon: Polygon) -> None:
    red, green, blue = (min(255, round(255 * value)) for value in polygon.colour)
    if polygon.corners[:, 2].max() - polygon.corners[:, 2].min() < 1e-6:
        pen.polygon(corners, (red, green, blue))
    else:  # upright: from above it is a line
        pen.line(corners, (red, green, blue), 3 * FINER if polygon.shines else FINER)


def _ground(world: World, ego: Ego, columns: int, rows: int) -> NDArray[np.uint8]:
    """(rows, columns, 3). Where a pixel is along the road changes evenly: every fourth is asked, in both directions."""
    blocks = rows // 4, columns // 4
    forward = SEEN_M - BEHIND_M - (np.arange(blocks[0]) + 0.5) / blocks[0] * SEEN_M
    left = (0.5 - (np.arange(blocks[1]) + 0.5) / blocks[1]) * SEEN_M * columns / rows
    in_ego = np.stack(np.meshgrid(forward, left, indexing="ij"), axis=-1)
    xy = ego.to_world(in_ego)
    near = world.road.coarse_s(xy, ego.s - SEEN_M, ego.s + 1.5 * SEEN_M)
    s, d = (
        np.asarray(Image.fromarray(value.astype(np.float32)).resize((columns, rows), Image.Resampling.BILINEAR))
        for value in world.road.locate(xy, near, iterations=2)
    )
    return np.rint(255 * np.clip(ground(world, s, d, 1.0), 0, 1)).astype(np.uint8)


def _on_page(xy: Array, ego: Ego, columns: int, rows: int) -> Array:
    """(n, 2) in world coordinates to column and row."""
    in_ego = ego.from_world(xy)
    scale = rows / SEEN_M
    return np.stack([columns / 2 - in_ego[:, 1] * scale, (SEEN_M - BEHIND_M - in_ego[:, 0]) * scale], axis=1)
