"""What stands on the road, as polygons in world coordinates."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from .centreline import Centreline
from .ego import HEIGHT_M, LENGTH_M, WIDTH_M
from .events import LANE_M, Cones, Crossing, Event, LaneClosed, StopSign, TrafficLight, Vehicle
from .world import Scenery, World

Array = NDArray[np.float64]
Colour = tuple[float, float, float]

WHITE, BLACK, GREY = (0.93, 0.93, 0.93), (0.06, 0.06, 0.07), (0.45, 0.45, 0.47)
RED, ORANGE, GREEN, YELLOW = (0.9, 0.08, 0.06), (1.0, 0.5, 0.05), (0.1, 0.85, 0.35), (0.95, 0.8, 0.1)
RIGHT_EDGE_D, LEFT_EDGE_D = -LANE_M, LANE_M


@dataclass(frozen=True)
class Polygon:
    """Convex, flat, seen from one side; corners (n, 3) in world coordinates, counter-clockwise as seen."""

    corners: Array
    colour: Colour
    shines: bool = False
    """By its own light: as bright at dusk as by day."""


@dataclass(frozen=True)
class Solid:
    """Polygons that are drawn together, in this order."""

    middle: Array
    polygons: list[Polygon]


def solids(world: World) -> Iterator[Solid]:
    """All that stands in the world."""
    for scenery in world.scenery:
        yield _scenery(world.road, scenery)
    for event in world.events:
        yield from of_event(world.road, event)
    for vehicle in world.traffic:
        yield _vehicle(world.road, vehicle)


def of_event(road: Centreline, event: Event) -> Iterator[Solid]:
    """What stands on the road, or beside it, because of the event."""
    if isinstance(event, Vehicle):
        yield _vehicle(road, event)
    elif isinstance(event, TrafficLight):
        yield _traffic_light(road, event, RIGHT_EDGE_D - 1.0)
        yield _traffic_light(road, event, LEFT_EDGE_D + 1.0)
    elif isinstance(event, StopSign):
        yield _stop_sign(road, event, RIGHT_EDGE_D - 0.9)
        yield _stop_sign(road, event, LEFT_EDGE_D + 0.9)
    elif isinstance(event, Crossing):
        yield _pedestrian(road, event)
    elif isinstance(event, Cones):
        side = -1.0 if event.on_the_right else 1.0
        for i in range(5):
            yield _cone(road, event.s + i * event.LENGTH / 4, event.d + side * (1.7 if i == 0 else 1.1))
    elif isinstance(event, LaneClosed):
        yield _barrier(road, event)
        inner = 1.0 if event.d < 0 else -1.0
        for i in range(3):
            yield _cone(road, event.s - 3.0 * (i + 1), event.d + inner * (1.0 - 1.1 * i))


def _vehicle(road: Centreline, vehicle: Vehicle) -> Solid:
    s, d = vehicle.s, vehicle.d
    body = _box(road, s, d, LENGTH_M, WIDTH_M, 0.35, 0.75, vehicle.colour)
    cabin = _box(road, s + 0.7, d, LENGTH_M - 1.9, WIDTH_M - 0.25, 1.05, HEIGHT_M - 1.0, (0.12, 0.14, 0.17))
    wheels = [
        polygon
        for at in (0.5, LENGTH_M - 1.1)
        for side in (-1, 1)
        for polygon in _box(road, s + at, d + side * (WIDTH_M / 2 - 0.12), 0.65, 0.25, 0.0, 0.5, BLACK)
    ]
    lit, lamp = (vehicle.braking or vehicle.hazard), ORANGE if vehicle.hazard else RED
    lamps = [
        _upright(road, s - 0.02, d + side * 0.72, 0.8, 0.36, 0.3, lamp if lit else (0.35, 0.05, 0.05), lit)
        for side in (-1, 1)
    ]
    return Solid(_point(road, s + LENGTH_M / 2, d, 0.8), [*wheels, *body, *cabin, *lamps])


def _traffic_light(road: Centreline, light: TrafficLight, d: float) -> Solid:
    s = light.s + 7.0
    pole = _box(road, s, d, 0.15, 0.15, 0.0, 4.0, GREY)
    head = [_upright(road, s - 0.1, d, 3.5, 0.8, 2.0, BLACK)]
    dark: Colour = (0.16, 0.16, 0.16)
    lamps = [
        _octagon(road, s - 0.12, d, 4.05, 0.42, dark if light.green else RED, not light.green),
        _octagon(road, s - 0.12, d, 2.95, 0.42, GREEN if light.green else dark, light.green),
    ]
    return Solid(_point(road, s, d, 3.0), [*pole, *head, *lamps])


def _stop_sign(road: Centreline, sign: StopSign, d: float) -> Solid:
    s = sign.s + 5.0
    plates = [
        _octagon(road, s - 0.10, d, 2.4, 0.55, WHITE),
        _octagon(road, s - 0.12, d, 2.4, 0.48, RED),
        *(
            _upright(road, s - 0.14, d + LETTER_M * left, 2.4 + LETTER_M * up, LETTER_M * wide, LETTER_M * high, WHITE)
            for left, up, wide, high in _STOP
        ),
    ]
    return Solid(_point(road, s, d, 2.0), [*_box(road, s, d, 0.1, 0.1, 0.0, 2.4, GREY), *plates])


LETTER_M = 0.06
# The strokes of S, T, O, P: where the middle of each is, to the left and up, how wide and how high it is.
_STOP = [
    *((5.0, 2.0, 3, 1), (5.0, 0.0, 3, 1), (5.0, -2.0, 3, 1), (6.0, 1.0, 1, 2), (4.0, -1.0, 1, 2)),
    *((1.7, 2.0, 3, 1), (1.7, 0.0, 1, 5)),
    *((-1.7, 2.0, 3, 1), (-1.7, -2.0, 3, 1), (-0.7, 0.0, 1, 5), (-2.7, 0.0, 1, 5)),
    *((-5.0, 2.0, 3, 1), (-5.0, 0.0, 3, 1), (-4.0, 0.0, 1, 5), (-6.0, 1.0, 1, 2)),
]


def _pedestrian(road: Centreline, crossing: Crossing) -> Solid:
    s, d = crossing.s + 1.5, crossing.pedestrian_d
    legs = _box(road, s, d, 0.35, 0.4, 0.0, 0.85, (0.1, 0.1, 0.25))
    body = _box(road, s, d, 0.35, 0.55, 0.85, 0.65, (0.85, 0.15, 0.5))
    head = _box(road, s, d, 0.25, 0.25, 1.5, 0.28, (0.85, 0.65, 0.5))
    # A suitcase is pulled behind: it shows which way.
    suitcase = _box(road, s, d - crossing.side * 0.55, 0.3, 0.4, 0.1, 0.6, (0.9, 0.75, 0.2))
    return Solid(_point(road, s, d, 0.9), [*suitcase, *legs, *body, *head])


def _cone(road: Centreline, s: float, d: float) -> Solid:
    stripes = [(0.0, 0.08, 0.27, 0.27, BLACK), (0.08, 0.35, 0.2, 0.14, ORANGE), (0.35, 0.55, 0.14, 0.1, WHITE)]
    stripes.append((0.55, 0.8, 0.1, 0.04, ORANGE))
    polygons = [
        _across(road, s, [(d + a, z0), (d - a, z0), (d - b, z1), (d + b, z1)], colour)
        for z0, z1, a, b, colour in stripes
    ]
    return Solid(_point(road, s, d, 0.4), polygons)


def _barrier(road: Centreline, closed: LaneClosed) -> Solid:
    boards = [
        _upright(road, closed.s, closed.d - 1.2 + 0.4 * i, z, 0.4, 0.28, (RED, WHITE)[(i + row) % 2])
        for row, z in enumerate((0.55, 1.05))
        for i in range(7)
    ]
    posts = [_upright(road, closed.s + 0.02, closed.d + at, 0.6, 0.1, 1.2, GREY) for at in (-1.0, 1.0)]
    # A white arrow on blue tells to which side.
    to = 1.0 if closed.d < 0 else -1.0
    z, d = 1.85, closed.d
    tip = [(d + to * 0.75, z), (d + to * 0.2, z - to * 0.35), (d + to * 0.2, z + to * 0.35)]
    arrow = [
        _upright(road, closed.s, d, z, 1.6, 0.9, (0.05, 0.2, 0.7)),
        _upright(road, closed.s - 0.02, d - to * 0.2, z, 0.9, 0.25, WHITE),
        _across(road, closed.s - 0.02, tip, WHITE),
    ]
    return Solid(_point(road, closed.s, closed.d, 0.8), [*posts, *boards, *arrow])


def _scenery(road: Centreline, scenery: Scenery) -> Solid:
    box = _box(road, scenery.s, scenery.d, scenery.length, scenery.width, 0.0, scenery.height, scenery.colour)
    return Solid(_point(road, scenery.s + scenery.length / 2, scenery.d, scenery.height / 2), box)


def _point(road: Centreline, s: float, d: float, z: float) -> Array:
    x, y, heading, _ = road.point(s)
    return np.array([x - sin(heading) * d, y + cos(heading) * d, z])


def _across(road: Centreline, s: float, dz: list[tuple[float, float]], colour: Colour, shines: bool = False) -> Polygon:
    """A polygon in the plane across the road at s, of corners (d, z)."""
    return Polygon(np.array([_point(road, s, d, z) for d, z in dz]), colour, shines)


def _upright(
    road: Centreline, s: float, d: float, z: float, width: float, height: float, colour: Colour, shines: bool = False
) -> Polygon:
    """A rectangle across the road, its middle at (s, d, z)."""
    w, h = width / 2, height / 2
    return _across(road, s, [(d + w, z - h), (d - w, z - h), (d - w, z + h), (d + w, z + h)], colour, shines)


def _octagon(
    road: Centreline, s: float, d: float, z: float, radius: float, colour: Colour, shines: bool = False
) -> Polygon:
    angles = [pi / 8 + i * pi / 4 for i in range(8)]
    return _across(road, s, [(d - radius * cos(a), z + radius * sin(a)) for a in angles], colour, shines)


def _box(
    road: Centreline, s: float, d: float, length: float, width: float, z: float, height: float, colour: Colour
) -> list[Polygon]:
    """From s on, along the road's direction there; the top and the four sides, each in its own shade."""
    x, y, heading, _ = road.point(s)
    forward, left = np.array([cos(heading), sin(heading)]), np.array([-sin(heading), cos(heading)])
    rear = np.array([x, y]) + left * d
    ground = [rear + along * forward + across * left for along, across in _CORNERS * (length, width)]
    low = np.array([[*corner, z] for corner in ground])
    high = low + np.array((0, 0, height))
    sides = [
        Polygon(np.array([low[i], low[j], high[j], high[i]]), _shade(colour, shade))
        for i, j, shade in ((1, 2, 0.8), (2, 3, 0.65), (3, 0, 0.8), (0, 1, 0.9))
    ]
    return [*sides[:3], Polygon(high, _shade(colour, 1.1)), sides[3]]


_CORNERS = np.array([(0, 0.5), (0, -0.5), (1, -0.5), (1, 0.5)])


def _shade(colour: Colour, by: float) -> Colour:
    red, green, blue = (min(1.0, value * by) for value in colour)
    return red, green, blue
