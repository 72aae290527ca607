"""What drives without looking: the ego history, continued. A model that sees has to beat these by far."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_demo.road.ego import DT_S, moved
from alpamayo_demo.road.scenes import WAYPOINTS

Array = NDArray[np.float64]

FITTED_STEPS = 3  # longer lags behind: on this road ADE is the same with 2 .. 5 steps, and 6 % more with 8
STANDING_M = 0.03  # moved less than this in that time: it has no curvature


@dataclass(frozen=True)
class Motion:
    """At t0: m/s, m/s2 along the path, 1/m to the left."""

    speed: float
    accel: float
    curvature: float


@dataclass(frozen=True, eq=False)
class Driven:
    """A trajectory in the shapes of an answer."""

    pred_xyz: Array
    """(1, 1, 1, 64, 3) metres, ego frame at t0."""
    action: Array
    """(1, 1, 1, 64, 2): acceleration in m/s2, curvature in 1/m."""


def estimate(ego_history_xyz: NDArray[np.float32], ego_history_rot: NDArray[np.float32]) -> Motion:
    """Motion at t0 from the last poses of (16, 3) metres and (16, 3, 3).

    A line through the speeds of the last steps, each the mean over its step, gives speed and acceleration; heading
    gained by way travelled gives curvature. The speed is never below zero.
    """
    xy = ego_history_xyz[-FITTED_STEPS - 1 :, :2].astype(np.float64)
    rot = ego_history_rot[-FITTED_STEPS - 1 :].astype(np.float64)
    yaw = np.unwrap(np.arctan2(rot[:, 1, 0], rot[:, 0, 0]))
    turned, halfway = np.diff(yaw), (yaw[1:] + yaw[:-1]) / 2
    step = np.diff(xy, axis=0)
    along = step[:, 0] * np.cos(halfway) + step[:, 1] * np.sin(halfway)
    travelled = along / np.cos(turned / 2)  # the unicycle's trapezoidal step is that much shorter than its way
    middle_s = DT_S * (np.arange(-FITTED_STEPS, 0) + 0.5)
    accel, speed = np.polyfit(middle_s, travelled / DT_S, 1)
    curvature = turned.sum() / travelled.sum() if travelled.sum() > STANDING_M else 0.0
    return Motion(max(float(speed), 0.0), float(accel), float(curvature))


def constant_velocity(motion: Motion) -> Driven:
    """Straight on, as fast as at t0."""
    return _drive(Motion(motion.speed, 0.0, 0.0))


def constant_acceleration_and_curvature(motion: Motion) -> Driven:
    """Pedal and steering wheel as at t0, until the car stands: it does not go backwards."""
    return _drive(motion)


def _drive(motion: Motion) -> Driven:
    x, y, heading, speed = 0.0, 0.0, 0.0, motion.speed
    xyz, action = np.zeros((1, 1, 1, WAYPOINTS, 3)), np.zeros((1, 1, 1, WAYPOINTS, 2))
    for i in range(WAYPOINTS):
        accel = max(motion.accel, -speed / DT_S)
        x, y, heading, speed = moved(x, y, heading, speed, accel, motion.curvature)
        xyz[..., i, :2], action[..., i, :] = (x, y), (accel, motion.curvature)
    return Driven(xyz, action)


BASELINES: dict[str, Callable[[Motion], Driven]] = {
    "constant velocity": constant_velocity,
    "constant acceleration and curvature": constant_acceleration_and_curvature,
}
