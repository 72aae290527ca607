"""What a camera sees: the ground by casting rays, what stands on it by projecting polygons, far ones first."""

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from .cameras import HEIGHT_PX, WIDTH_PX, Camera
from .ego import Ego
from .events import Crossing, SpeedBump, StopSign, TrafficLight
from .solids import BLACK, LEFT_EDGE_D, RIGHT_EDGE_D, WHITE, YELLOW, Polygon, solids
from .world import World

Array = NDArray[np.float64]
Pixels = NDArray[np.float32]

FINER = 2  # pixels are drawn this much finer, in both directions, and averaged
FAR_M = 110.0
NEAR_M = 0.2
BEHIND_M = 12.0  # half of the longest house: what has its middle further behind the camera is out of sight
LINE_M, DASH_M, DASH_PERIOD_M, CURB_M = 0.18, 4.5, 9.0, 0.25
ASPHALT, PAVEMENT, CURB, GRASS = (0.33, 0.33, 0.35), (0.55, 0.53, 0.50), (0.68, 0.68, 0.7), (0.28, 0.42, 0.20)
SKY_DAY, SKY_DUSK, HAZE_DAY, HAZE_DUSK = (0.45, 0.65, 0.9), (0.18, 0.16, 0.32), (0.8, 0.86, 0.92), (0.85, 0.5, 0.32)
DUSK_LIGHT = 0.45


def render(world: World, ego: Ego, camera: Camera) -> NDArray[np.uint8]:
    """(3, HEIGHT_PX, WIDTH_PX) RGB. The same for the same arguments."""
    canvas = _sky(camera, round(world.dusk, 1)).copy()
    _draw_ground(canvas, world, ego, camera)
    _draw_solids(canvas, world, ego, camera)
    fine = canvas.reshape(HEIGHT_PX, FINER, WIDTH_PX, FINER, 3)
    small = sum(fine[:, i, :, j] for i in range(FINER) for j in range(FINER)) / FINER**2
    pixels: NDArray[np.uint8] = np.rint(255 * np.clip(small, 0, 1)).astype(np.uint8).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels)


@cache
def _rays(camera: Camera) -> Array:
    """(rows, columns, 3): one per fine pixel, in the ego frame."""
    columns, rows = ((np.arange(n * FINER) + 0.5) / FINER for n in (WIDTH_PX, HEIGHT_PX))
    return camera.rays(columns, rows)


@cache
def _ground(camera: Camera) -> tuple[Array, Pixels]:
    """What the lower fine rows see of the ground: where, at every _COARSE-th fine column's left edge and at the last
    one's right edge, (rows, nodes, 2) in the ego frame; and how much haze is before it, (rows, columns, 1).
    """
    rows = (np.arange(HEIGHT_PX * FINER) + 0.5) / FINER
    rays = camera.rays(np.arange(0, WIDTH_PX * FINER + 1, _COARSE) / FINER, rows)  # no roll: a row has one slope
    rays = rays[rays[:, 0, 2] < -camera.position[2] / FAR_M]
    nodes = camera.position[:2] + rays[..., :2] * (camera.position[2] / -rays[..., 2:])
    in_ego = np.stack([_between(nodes[..., i]) for i in (0, 1)], axis=-1)
    haze = np.clip(np.linalg.norm(in_ego, axis=-1, keepdims=True) / FAR_M, 0, 1) ** 2
    return nodes, haze.astype(np.float32)


def _between(nodes: Array) -> Pixels:
    """(rows, nodes) at the edges of groups of _COARSE fine columns to (rows, columns), linearly."""
    weight = ((np.arange(_COARSE) + 0.5) / _COARSE).astype(np.float32)
    left, right = nodes[:, :-1, None].astype(np.float32), nodes[:, 1:, None].astype(np.float32)
    return (left + (right - left) * weight).reshape(len(nodes), -1)


_COARSE = 8


@lru_cache(maxsize=64)
def _sky(camera: Camera, dusk: float) -> Pixels:
    """(rows, columns, 3): haze at the horizon, and below it for what is too far away."""
    rays = _rays(camera)
    up = np.clip(rays[..., 2:] / np.linalg.norm(rays, axis=-1, keepdims=True) / 0.35, 0, 1)
    sky, haze = (np.array(day) * (1 - dusk) + np.array(late) * dusk for day, late in _SKIES)
    return (haze * (1 - up) + sky * up).astype(np.float32)


_SKIES = ((SKY_DAY, SKY_DUSK), (HAZE_DAY, HAZE_DUSK))


def _draw_ground(canvas: Pixels, world: World, ego: Ego, camera: Camera) -> None:
    in_ego, haze = _ground(camera)
    xy = ego.to_world(in_ego)
    start = world.road.coarse_s(xy[::4, ::4], ego.s - 25, ego.s + FAR_M + 5).repeat(4, 0).repeat(4, 1)
    at_nodes = world.road.locate(xy, start[: xy.shape[0], : xy.shape[1]], iterations=2)
    s, d = (_between(values) for values in at_nodes)
    colour = ground(world, s, d, _light(world))
    below = canvas[-len(colour) :]
    below += (colour - below) * (1 - haze)


def ground(world: World, s: Pixels, d: Pixels, light: float) -> Pixels:
    """(..., 3) RGB of the ground at (s, d), each (...,); `light` is 1 by day."""
    material = np.zeros(s.shape, dtype=np.uint8)
    material[(d > RIGHT_EDGE_D - 2.2) & (d < LEFT_EDGE_D + 2.2)] = 1
    material[(d > RIGHT_EDGE_D - 0.2 - CURB_M) & (d < LEFT_EDGE_D + 0.2 + CURB_M)] = 2
    material[(d > RIGHT_EDGE_D - 0.2) & (d < LEFT_EDGE_D + 0.2)] = 3
    line = (np.abs(d - RIGHT_EDGE_D) < LINE_M / 2) | (np.abs(d - LEFT_EDGE_D) < LINE_M / 2)
    line |= (np.abs(d) < LINE_M / 2) & (np.mod(s, DASH_PERIOD_M) < DASH_M)
    material[line] = 4
    palette = np.array([GRASS, PAVEMENT, CURB, np.array(ASPHALT) * world.asphalt, WHITE, BLACK, YELLOW], np.float32)
    paint(world, s, d, material)
    return (palette * light)[material]


def paint(world: World, s: Pixels, d: Pixels, material: NDArray[np.uint8]) -> None:
    """Writes onto `material` of the ground points (s, d) what the events have painted there."""
    on_road = (d > RIGHT_EDGE_D) & (d < LEFT_EDGE_D)
    for event in world.events:
        ahead = s - event.s
        if isinstance(event, TrafficLight | StopSign):
            material[on_road & (np.abs(ahead - 0.3) < 0.3)] = 4
        elif isinstance(event, Crossing):
            material[on_road & (np.abs(ahead - 1.75) < 1.25) & _stripes(d)] = 4
        elif isinstance(event, SpeedBump):
            bump, yellow = on_road & (np.abs(ahead - 0.8) < 0.8), _stripes(d)
            material[bump & yellow], material[bump & ~yellow] = 6, 5


def _stripes(d: Pixels) -> NDArray[np.bool_]:
    """Half a metre each, the same to the left and to the right of the road's middle."""
    return np.mod(d + 0.25, 1.0) < 0.5


def _light(world: World) -> float:
    return 1 - world.dusk * (1 - DUSK_LIGHT)


def _draw_solids(canvas: Pixels, world: World, ego: Ego, camera: Camera) -> None:
    def in_camera(xyz: Array) -> Array:
        return camera.to_camera(np.concatenate([ego.from_world(xyz[..., :2]), xyz[..., 2:]], axis=-1))

    near = [(solid, in_camera(solid.middle)) for solid in solids(world)]
    near = [(solid, middle) for solid, middle in near if np.linalg.norm(middle) < FAR_M and middle[2] > -BEHIND_M]
    for solid, _ in sorted(near, key=lambda pair: -float(np.linalg.norm(pair[1]))):
        for polygon in solid.polygons:
            _fill(canvas, in_camera(polygon.corners), polygon, camera, _light(world))


def _fill(canvas: Pixels, corners: Array, polygon: Polygon, camera: Camera, light: float) -> None:
    """`corners`: (n, 3) right, down, forward."""
    visible = _clipped(corners)
    if len(visible) < 3:
        return
    pixels = camera.to_pixels(visible) * FINER
    rows, columns = canvas.shape[:2]
    (left, top), (right, bottom) = np.floor(pixels.min(axis=0)), np.ceil(pixels.max(axis=0))
    x0, x1, y0, y1 = max(int(left), 0), min(int(right), columns), max(int(top), 0), min(int(bottom), rows)
    if x0 >= x1 or y0 >= y1:
        return
    x, y = np.arange(x0, x1)[None, :] + 0.5, np.arange(y0, y1)[:, None] + 0.5
    after = np.roll(pixels, -1, axis=0)
    if (pixels[:, 0] * after[:, 1] - after[:, 0] * pixels[:, 1]).sum() > 0:  # seen from behind
        return
    sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for (ax, ay), (bx, by) in zip(pixels, after, strict=True)]
    inside = np.logical_and.reduce([side <= 0 for side in sides])
    canvas[y0:y1, x0:x1][inside] = np.array(polygon.colour) * (1.0 if polygon.shines else light)


def _clipped(corners: Array) -> Array:
    """The part of a polygon (n, 3) that is in front of the camera (Sutherland and Hodgman, one plane)."""
    ahead = corners[:, 2] > NEAR_M
    if ahead.all():
        return corners
    kept = []
    for i in range(len(corners)):
        a, b = corners[i - 1], corners[i]
        if ahead[i - 1] != ahead[i]:
            kept.append(a + (b - a) * (NEAR_M - a[2]) / (b[2] - a[2]))
        if ahead[i]:
            kept.append(b)
    return np.array(kept)
