"""One trajectory of a prediction as what a controller follows: where to be at any time."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import NoPlanError
from ..prediction import Prediction
from .poses import Array, interpolate, to_matrices, to_quaternions


@dataclass(frozen=True, eq=False)
class Waypoint:
    """Where to be at a time, in the world frame of the scene."""

    time_us: int
    xyz: Array
    """(3,) metres."""
    rot: Array
    """(3, 3) from the ego frame then (x forward, y left, z up) to the world frame."""
    speed_mps: float
    """Forward; negative: backward."""
    age_s: float
    """How old the observation behind it is: now - t0."""

    @property
    def yaw_rad(self) -> float:
        """Of the ego frame's x axis in the world's x-y plane, from x towards y, -pi .. pi."""
        return math.atan2(self.rot[1, 0], self.rot[0, 0])


class Plan:
    """A trajectory from the ego pose at t0 to t0 + 6.4 s."""

    def __init__(self, prediction: Prediction, trajectory: tuple[int, int]) -> None:
        """`trajectory`: its set and sample. Raises InvalidRequestError if the scene had no t0_us or ego_to_world."""
        xyz, rot = prediction.to_world()
        start = np.asarray(prediction.ego_to_world)
        self.prediction = prediction
        self.trajectory = trajectory
        self.times_us: NDArray[np.int64] = np.concatenate([[prediction.t0_us], prediction.timestamps_us])
        self._xyz = np.concatenate([start[None, :3, 3], xyz[(0, *trajectory)]])
        rot = np.concatenate([start[None, :3, :3], rot[(0, *trajectory)]])
        self._quaternions = to_quaternions(rot)
        # The mean speed of each tenth of a second, at its middle.
        forward = (rot[1:, :, 0] + rot[:-1, :, 0]) / 2
        seconds = np.diff(self.times_us) / 1e6
        self._middles_us = (self.times_us[1:] + self.times_us[:-1]) / 2
        self._speeds_mps = np.sum(np.diff(self._xyz, axis=0) * forward, axis=1) / seconds

    def age_s(self, now_us: int) -> float:
        """Since t0."""
        return (now_us - int(self.times_us[0])) / 1e6

    def at(self, time_us: int, now_us: int) -> Waypoint:
        """Positions linearly, rotations by slerp. Raises NoPlanError before t0 and after the end."""
        first, last = self.times_us[[0, -1]].tolist()
        if not first <= time_us <= last:
            raise NoPlanError(
                f"no trajectory at time_us={time_us}: the newest goes from t0_us={first} to {last}, and that is "
                f"{(time_us - first) / 1e6:.3f} s after t0, wanted 0 .. {(last - first) / 1e6:.1f} s"
            )
        xyz, quaternions = interpolate(self.times_us, self._xyz, self._quaternions, np.array([time_us]))
        speed = float(np.interp(time_us, self._middles_us, self._speeds_mps))
        return Waypoint(time_us, xyz[0], to_matrices(quaternions)[0], speed, self.age_s(now_us))
