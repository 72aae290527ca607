"""A camera's image, with ways drawn onto its road."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from alpamayo_demo.road.cameras import HEIGHT_PX, WIDTH_PX, Camera
from alpamayo_demo.road.ego import Ego
from alpamayo_demo.road.render import render
from alpamayo_demo.road.world import World

from .ink import FINER, Colour, Trail, pieces

Array = NDArray[np.float64]

HALF_WIDTH_M, DASH_HALF_WIDTH_M = 0.16, 0.06
OPAQUE = 210  # of 255
NEAREST_M = 0.4  # to the camera: nearer, a point is far out of the picture


def camera_view(world: World, ego: Ego, camera: Camera, width: int, trails: list[Trail]) -> Image.Image:
    """What the model sees, enlarged to `width` pixels (times FINER)."""
    seen = Image.fromarray(render(world, ego, camera).transpose(1, 2, 0))
    view = seen.resize((width * FINER, width * FINER * HEIGHT_PX // WIDTH_PX), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(view, "RGBA")
    for trail in trails:
        for piece in pieces(trail.xy, trail.dashed):
            edges = _ribbon(piece, DASH_HALF_WIDTH_M if trail.dashed else HALF_WIDTH_M)
            _draw(pen, edges, trail.colour, ego, camera)
    return view


def _ribbon(piece: Array, half_width_m: float) -> tuple[Array, Array]:
    """Its left and its right edge."""
    along = np.gradient(piece, axis=0)
    length = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    left = np.stack([-along[:, 1], along[:, 0]], axis=1) / length * half_width_m
    return piece + left, piece - left


def _draw(pen: ImageDraw.ImageDraw, edges: tuple[Array, Array], colour: Colour, ego: Ego, camera: Camera) -> None:
    left, right = (_in_ego(edge, ego) for edge in edges)
    ahead = (camera.to_camera(left)[:, 2] > NEAREST_M) & (camera.to_camera(right)[:, 2] > NEAREST_M)
    if ahead.sum() < 2:
        return
    left, right = (camera.project(edge[ahead]) * (pen.im.size[0] / WIDTH_PX) for edge in (left, right))
    outline = [*map(tuple, left), *map(tuple, right[::-1])]
    pen.polygon(outline, (*colour, OPAQUE))
    middle = [tuple(point) for point in (left + right) / 2]
    pen.line(middle, (*colour, OPAQUE), FINER)  # far away the ribbon is thinner than a pixel


def _in_ego(xy: Array, ego: Ego) -> Array:
    """(n, 2) in world coordinates to (n, 3) on the ground of the ego frame."""
    return np.column_stack([ego.from_world(xy), np.zeros(len(xy))])
