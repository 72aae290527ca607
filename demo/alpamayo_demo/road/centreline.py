"""The middle of the road: a curve of given curvature, and the way from world coordinates to (s, d) and back."""

from math import cos, sin

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

STEP_M = 0.5
TRANSITION_M = 12.0  # curvature changes linearly over this length, as on real roads


class Centreline:
    """Starts at s = `start_m`, passes the world's origin at s = 0 in the direction of x."""

    def __init__(self, curvature: Array, start_m: float) -> None:
        """`curvature`: (n,) in 1/m, left is positive, every STEP_M from `start_m` < 0."""
        self.start_m, self.end_m = start_m, start_m + STEP_M * (len(curvature) - 1)
        self.curvature = curvature
        origin = round(-start_m / STEP_M)
        heading = _integral(curvature)
        self.heading = heading - heading[origin]
        x, y = _integral(np.cos(self.heading)), _integral(np.sin(self.heading))
        self.xy = np.stack([x - x[origin], y - y[origin]], axis=1)
        self._table = np.column_stack([self.xy, self.heading, curvature])
        self._slope = np.diff(self._table, axis=0)
        self._rows: list[list[float]] = self._table.tolist()

    def at(self, s: ArrayLike) -> Array:
        """(..., 4): x, y, heading, curvature at s (...); beyond the ends the road goes straight on."""
        wanted = (np.asarray(s, dtype=np.float64) - self.start_m) / STEP_M
        at = np.clip(wanted, 0, len(self._table) - 1.001)
        i = at.astype(np.int64)
        value: Array = self._table[i] + self._slope[i] * (at - i)[..., None]
        beyond_m, heading = STEP_M * (wanted - at), value[..., 2]
        value[..., 0] += beyond_m * np.cos(heading)
        value[..., 1] += beyond_m * np.sin(heading)
        return value

    def point(self, s: float) -> tuple[float, float, float, float]:
        """`at` for one s: ten times faster."""
        wanted = (s - self.start_m) / STEP_M
        at = min(max(wanted, 0.0), len(self._rows) - 1.001)
        i = int(at)
        f = at - i
        (x0, y0, heading0, curvature0), (x1, y1, heading1, curvature1) = self._rows[i], self._rows[i + 1]
        x, y, heading = x0 + (x1 - x0) * f, y0 + (y1 - y0) * f, heading0 + (heading1 - heading0) * f
        curvature = curvature0 + (curvature1 - curvature0) * f
        beyond_m = STEP_M * (wanted - at)
        return x + beyond_m * cos(heading), y + beyond_m * sin(heading), heading, curvature

    def with_curvature(self, curvature: Array) -> "Centreline":
        """Another road through the same point, in the same direction, at s = 0."""
        return Centreline(curvature, self.start_m)

    def to_world(self, s: ArrayLike, d: ArrayLike) -> Array:
        """(..., 2): x, y of points (s, d)."""
        x, y, heading, _ = np.moveaxis(self.at(s), -1, 0)
        return np.stack([x - np.sin(heading) * d, y + np.cos(heading) * d], axis=-1)

    def locate(self, xy: ArrayLike, near_s: ArrayLike, iterations: int = 3) -> tuple[Array, Array]:
        """(s, d) of points (..., 2), by Newton's method from `near_s`: the closest point on the line."""
        points = np.asarray(xy, dtype=np.float64)
        s = np.broadcast_to(np.asarray(near_s, dtype=np.float64), points.shape[:-1]).copy()
        d = np.zeros_like(s)
        px, py = points[..., 0], points[..., 1]
        for _ in range(iterations):
            x, y, heading, curvature = np.moveaxis(self.at(s), -1, 0)
            dx, dy, cos, sin = px - x, py - y, np.cos(heading), np.sin(heading)
            along, d = dx * cos + dy * sin, dy * cos - dx * sin
            # Beyond the circle's centre there is no closest point: such points are far off the road.
            s = np.clip(s + along / np.maximum(1 - curvature * d, 0.3), self.start_m, self.end_m)
        return s, d

    def coarse_s(self, xy: Array, from_s: float, to_s: float, step_m: float = 3.0) -> Array:
        """(...,) the nearest of the line's points every `step_m` between two s: where `locate` starts from."""
        candidates = np.arange(from_s, to_s, step_m)
        distance = ((xy[..., None, :] - self.at(candidates)[:, :2]) ** 2).sum(axis=-1)
        nearest: Array = candidates[distance.argmin(axis=-1)]
        return nearest


def curvature_profile(length_m: float, start_m: float, curves: list[tuple[float, float, float]]) -> Array:
    """(n,) for `Centreline`: straight, but for `curves` (from_s, to_s, curvature), each with its transitions."""
    s = start_m + STEP_M * np.arange(round((length_m - start_m) / STEP_M) + 1)
    curvature = np.zeros_like(s)
    for begin, end, value in curves:
        rise = np.clip((s - begin) / TRANSITION_M, 0, 1)
        fall = np.clip((end - s) / TRANSITION_M, 0, 1)
        curvature += value * np.minimum(rise, fall)
    return curvature


def _integral(values: Array) -> Array:
    """Trapezoidal, from zero."""
    return np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2 * STEP_M)])
