"""The car: its size, its state, and how an action moves it: exactly as the served unicycle does."""

from dataclasses import dataclass
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DT_S = 0.1
LENGTH_M, WIDTH_M, HEIGHT_M = 4.6, 1.9, 1.5


@dataclass(frozen=True)
class Ego:
    """World frame; metres, radians, m/s; (s, d) is the same position along the road."""

    x: float
    y: float
    heading: float
    speed: float
    s: float
    d: float

    @property
    def front_s(self) -> float:
        """Where its bumper is."""
        return self.s + LENGTH_M / 2

    def to_world(self, xy: Array) -> Array:
        """(..., 2) points of its own frame (x forward, y left), in metres."""
        moved: Array = xy @ self._turn.T + (self.x, self.y)
        return moved

    def from_world(self, xy: Array) -> Array:
        """(..., 2) points of the world, in metres: where they are in its own frame (x forward, y left)."""
        seen: Array = (xy - (self.x, self.y)) @ self._turn
        return seen

    @property
    def _turn(self) -> Array:
        c, s = cos(self.heading), sin(self.heading)
        return np.array([[c, -s], [s, c]])


def moved(x: float, y: float, heading: float, speed: float, accel: float, curvature: float) -> tuple[float, ...]:
    """(x, y, heading, speed) after DT_S of an acceleration in m/s2 and a curvature in 1/m."""
    next_speed = speed + accel * DT_S
    next_heading = heading + curvature * (speed * DT_S + accel * DT_S**2 / 2)
    x += (speed * cos(heading) + next_speed * cos(next_heading)) * DT_S / 2
    y += (speed * sin(heading) + next_speed * sin(next_heading)) * DT_S / 2
    return x, y, next_heading, next_speed
