"""What the car touches: convex shapes, seen from above."""

import numpy as np
from numpy.typing import NDArray

from alpamayo_demo.road.ego import HEIGHT_M, LENGTH_M, WIDTH_M, Ego
from alpamayo_demo.road.events import Event
from alpamayo_demo.road.solids import of_event
from alpamayo_demo.road.world import World

Array = NDArray[np.float64]

_CORNERS = np.array([(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)]) * (LENGTH_M, WIDTH_M)


def outline(ego: Ego) -> Array:
    """(4, 2): the car's corners in world coordinates."""
    return ego.to_world(_CORNERS)


def touched(world: World, ego: Ego) -> Event | None:
    """The event with something of it in the car's place."""
    car = outline(ego)
    for event in [*world.events, *world.traffic]:
        for solid in of_event(world.road, event):
            low = (polygon.corners[:, :2] for polygon in solid.polygons if polygon.corners[:, 2].min() < HEIGHT_M)
            if any(overlap(car, shape) for shape in low):
                return event
    return None


def overlap(a: Array, b: Array) -> bool:
    """Whether two convex shapes (n, 2) have a point in common: no line separates them. A shape may be a segment."""
    edges = np.concatenate([np.roll(shape, -1, axis=0) - shape for shape in (a, b)])
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
    of_a, of_b = normals @ a.T, normals @ b.T
    apart = (of_a.max(axis=1) < of_b.min(axis=1)) | (of_b.max(axis=1) < of_a.min(axis=1))
    return not bool(apart.any())
