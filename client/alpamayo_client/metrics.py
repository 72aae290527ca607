"""How far predictions are from what was driven, and how comfortable they are.

Shapes are the contract's: `pred_xyz` (1, sets, samples, 64, 3) metres, `ego_future_xyz` (64, 3) metres in the same
frame and at the same times, t0 + 0.1 s .. 6.4 s. Distances are taken in x and y. Everything here raises
InvalidRequestError for other shapes and for numbers that are not finite.

Numbers are of one scene: average them over scenes. K is the samples of a set, from which the best one counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import WAYPOINTS, check_float, check_future, check_trajectories
from .errors import InvalidRequestError
from .prediction import WAYPOINTS_PER_S

HORIZONS_S = (0.5, 1.0, 3.0, 5.0, 6.4)
MISS_M = 2.0  # as in Argoverse's benchmark
STEP_S = 1 / WAYPOINTS_PER_S
HORIZON_TOLERANCE = 1e-5  # waypoints: 6.4 s in float32 is not 6.4 s

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comfort:
    """The extremes of each trajectory over 6.4 s, t0 included: every field is (1, sets, samples)."""

    max_acceleration_mps2: Array
    """Along the path, braking too: absolute."""
    max_curvature_per_m: Array
    """To either side: absolute."""
    max_jerk_mps3: Array
    """Absolute difference of one acceleration and the next, per 0.1 s; the step at t0 is not known, nor counted."""
    max_lateral_acceleration_mps2: Array
    """Curvature times speed squared, to either side: absolute."""
    min_speed_mps: Array
    """Negative: the car goes backwards."""


def ade(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> Array:
    """(1, sets, samples) metres: each trajectory's average displacement error, its mean distance over 64 waypoints."""
    return _distances(pred_xyz, ego_future_xyz).mean(axis=-1)


def fde(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> Array:
    """(1, sets, samples) metres: each trajectory's final displacement error, its distance at 6.4 s."""
    return _distances(pred_xyz, ego_future_xyz)[..., -1]


def min_ade(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> float:
    """minADE@K in metres: the ADE of a set's best sample, averaged over sets."""
    return float(_distances_of_best(pred_xyz, ego_future_xyz).mean())


def min_ade_by_horizon(
    pred_xyz: ArrayLike, ego_future_xyz: ArrayLike, horizons_s: Iterable[float] = HORIZONS_S
) -> dict[float, float]:
    """minADE@K in metres by horizon in seconds, as the reference does it.

    A set's best sample is the one with the smallest ADE over the whole 6.4 s, whatever the horizon, which only cuts
    what is averaged: another sample may be nearer over the first second. At 6.4 s it is `min_ade`. Raises
    InvalidRequestError for a horizon that is no waypoint's time: 0.1, 0.2 .. 6.4.
    """
    best = _distances_of_best(pred_xyz, ego_future_xyz)
    return {horizon_s: float(best[..., : _waypoints(horizon_s)].mean()) for horizon_s in horizons_s}


def ade_of_mean(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> float:
    """Metres: the ADE of the mean trajectory, over all samples of all sets."""
    mean_xyz = _predicted(pred_xyz).mean(axis=(1, 2), keepdims=True)
    return float(ade(mean_xyz, ego_future_xyz).item())


def min_fde(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> float:
    """minFDE@K in metres: the smallest FDE of a set's samples, averaged over sets.

    It may be another sample's than that of `min_ade`.
    """
    return float(fde(pred_xyz, ego_future_xyz).min(axis=-1).mean())


def miss_rate(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike, threshold_m: float = MISS_M) -> float:
    """Miss rate@K, 0 .. 1: the share of sets in which every sample's FDE is above `threshold_m` metres.

    With one set it is 0 or 1. Raises InvalidRequestError for a threshold that is not above zero and finite.
    """
    limit_m = check_float("threshold_m", threshold_m)
    if not 0 < limit_m < np.inf:
        raise InvalidRequestError(f"threshold_m: got {threshold_m}, wanted metres above zero")
    return float((fde(pred_xyz, ego_future_xyz) > limit_m).all(axis=-1).mean())


def comfort(pred_xyz: ArrayLike, action: ArrayLike) -> Comfort:
    """What sits badly with passengers.

    `action`: (1, sets, samples, 64, 2), acceleration in m/s2 and curvature in 1/m, that lead to `pred_xyz`, in the
    ego frame at t0. Both are held over a step of 0.1 s, so that speed is extreme at the ends of steps. Raises
    InvalidRequestError if there is not an action for every waypoint.
    """
    xyz, pairs = _predicted(pred_xyz), check_trajectories("action", action, 2).astype(np.float64)
    if xyz.shape[:-1] != pairs.shape[:-1]:
        raise InvalidRequestError(f"action: got shape {pairs.shape}, wanted {(*xyz.shape[:-1], 2)} to go with pred_xyz")
    acceleration, curvature = pairs[..., 0], pairs[..., 1]
    speed = _speeds(xyz, acceleration)
    fastest = np.maximum(np.abs(speed[..., :-1]), np.abs(speed[..., 1:]))  # of each step
    return Comfort(
        max_acceleration_mps2=np.abs(acceleration).max(axis=-1),
        max_curvature_per_m=np.abs(curvature).max(axis=-1),
        max_jerk_mps3=np.abs(np.diff(acceleration) / STEP_S).max(axis=-1),
        max_lateral_acceleration_mps2=np.abs(curvature * fastest**2).max(axis=-1),
        min_speed_mps=speed.min(axis=-1),
    )


def _speeds(xyz: Array, acceleration: Array) -> Array:
    """(1, sets, samples, 65) m/s at t0 and at every waypoint, negative backwards.

    The answer does not tell the speed at t0; the first waypoint does. With v the speed after a step, a trapezoidal
    step from the origin ends at v dt cos(theta / 2) along theta / 2, less a dt^2 / 2 along x. With p that end, the
    latter put back, v dt = |p|^2 / p_x: the heading theta is not needed, and the sign is right.
    """
    forward = xyz[..., 0, 0] + acceleration[..., 0] * STEP_S**2 / 2
    left = xyz[..., 0, 1]
    aside = np.divide(left**2, forward, out=np.zeros_like(forward), where=forward != 0)  # zero: it has come to a stop
    t0_speed = (forward + aside) / STEP_S - acceleration[..., 0] * STEP_S
    gained = np.cumsum(acceleration * STEP_S, axis=-1)
    return t0_speed[..., None] + np.concatenate([np.zeros_like(gained[..., :1]), gained], axis=-1)


def _distances_of_best(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> Array:
    """(1, sets, 64) metres, of the sample of each set whose mean is smallest."""
    distances = _distances(pred_xyz, ego_future_xyz)
    best = distances.mean(axis=-1).argmin(axis=-1)
    return np.take_along_axis(distances, best[..., None, None], axis=2)[..., 0, :]


def _distances(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> Array:
    """(1, sets, samples, 64) metres in x and y."""
    driven = check_future(ego_future_xyz).astype(np.float64)
    distances: Array = np.linalg.norm(_predicted(pred_xyz)[..., :2] - driven[:, :2], axis=-1)
    return distances


def _predicted(pred_xyz: ArrayLike) -> Array:
    return check_trajectories("pred_xyz", pred_xyz, 3).astype(np.float64)


def _waypoints(horizon_s: float) -> int:
    """How many of them a horizon has."""
    count = check_float("horizons_s", horizon_s) * WAYPOINTS_PER_S
    if not 0.5 < count < WAYPOINTS + 0.5 or abs(count - round(count)) > HORIZON_TOLERANCE:
        last_s = WAYPOINTS / WAYPOINTS_PER_S
        raise InvalidRequestError(f"horizons_s: got {horizon_s} s, wanted times of waypoints: 0.1, 0.2 .. {last_s} s")
    return round(count)
