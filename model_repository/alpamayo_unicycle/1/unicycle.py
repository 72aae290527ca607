"""Kinematics: normalised actions to waypoints. Plain numpy in float64; 64 steps are nothing, and it is exact."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from contract import HISTORY_POSES, WAYPOINTS, InvalidRequest, check_finite, check_shape, shown
from ego_history import check_history, estimate_speeds

Array = npt.NDArray[np.float64]

MAX_DISTANCE_M = 1e6  # beyond it a trajectory is noise, and float32 is about to overflow


@dataclass(frozen=True)
class UnicycleSettings:
    """The checkpoint's action space in m/s2, 1/m (curvatures) and seconds (`dt`), and the repository's limit."""

    accel_mean: float
    accel_std: float
    curvature_mean: float
    curvature_std: float
    accel_bounds: tuple[float, float]
    curvature_bounds: tuple[float, float]
    dt: float
    v_lambda: float
    v_ridge: float
    max_trajectories: int

    @classmethod
    def load(cls, folder: Path) -> "UnicycleSettings":
        return cls(**json.loads((folder / "unicycle.json").read_text()))


def predict(
    normalized_action: npt.NDArray[np.float32],
    action_owner: npt.NDArray[np.int32],
    ego_history_xyz: npt.NDArray[np.float32],
    ego_history_rot: npt.NDArray[np.float32],
    settings: UnicycleSettings,
) -> dict[str, npt.NDArray[Any]]:
    """The model `alpamayo_unicycle`: A = sets x samples normalised actions to (1, sets, samples, ...) trajectories.

    Args:
        normalized_action: (A, 64, 2).
        action_owner: (A,) the sample each trajectory belongs to: 0 .. samples - 1, repeated for every set.
        ego_history_xyz: (16, 3) metres, ego frame at t0.
        ego_history_rot: (16, 3, 3).
        settings: the checkpoint's action space.

    Raises:
        InvalidRequest: an input breaks the contract.
    """
    check_shape("normalized_action", normalized_action, (None, WAYPOINTS, 2))
    check_finite("normalized_action", normalized_action)
    if len(normalized_action) > settings.max_trajectories:
        raise InvalidRequest(
            f"normalized_action holds {len(normalized_action)} trajectories; this repository was exported for at most "
            f"{settings.max_trajectories}"
        )
    samples = _samples(action_owner, len(normalized_action))
    check_history(ego_history_xyz, ego_history_rot)

    xyz, rot = ego_history_xyz.astype(np.float64), ego_history_rot.astype(np.float64)
    action = denormalize(normalized_action.astype(np.float64), settings)
    t0_speed = estimate_speeds(xyz, rot, dt=settings.dt, v_lambda=settings.v_lambda, v_ridge=settings.v_ridge)[-1]
    pred_xyz, pred_rot = integrate(action, float(t0_speed), float(xyz[-1, 2]), settings.dt)

    if not np.abs(pred_xyz).max() <= MAX_DISTANCE_M:  # nor NaN
        raise InvalidRequest(
            f"normalized_action leads further than {MAX_DISTANCE_M:g} m; got values up to "
            f"{np.abs(normalized_action).max():g}, where a few units are usual"
        )

    def by_set(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return x.reshape(1, -1, samples, *x.shape[1:])

    return {
        "pred_xyz": by_set(pred_xyz).astype(np.float32),
        "pred_rot": by_set(pred_rot).astype(np.float32),
        "action": by_set(action).astype(np.float32),
        "within_bounds": by_set(within_bounds(action, settings)),
    }


def warm_up(settings: UnicycleSettings) -> None:
    """Predicts once, standing still: the first call of numpy's linear algebra is slower than all others."""
    xyz, rot = np.zeros((HISTORY_POSES, 3), np.float32), np.tile(np.eye(3, dtype=np.float32), (HISTORY_POSES, 1, 1))
    predict(np.zeros((1, WAYPOINTS, 2), np.float32), np.zeros(1, np.int32), xyz, rot, settings)


def _samples(action_owner: npt.NDArray[np.int32], trajectories: int) -> int:
    check_shape("action_owner", action_owner, (trajectories,))
    samples = int(action_owner.max()) + 1
    if not np.array_equal(action_owner, np.arange(trajectories) % max(samples, 1)) or trajectories % samples:
        raise InvalidRequest(
            f"action_owner must count 0 .. samples - 1 once for every set, over {trajectories} trajectories; "
            f"got {shown(action_owner.tolist())}"
        )
    return samples


def denormalize(normalized_action: Array, settings: UnicycleSettings) -> Array:
    """(..., 2) of zero mean and unit variance to acceleration in m/s2 and curvature in 1/m."""
    std = np.array([settings.accel_std, settings.curvature_std])
    mean = np.array([settings.accel_mean, settings.curvature_mean])
    return normalized_action * std + mean


def within_bounds(action: Array, settings: UnicycleSettings) -> npt.NDArray[np.bool_]:
    """(A,) whether all of a trajectory's actions (A, 64, 2) lie inside the checkpoint's bounds."""
    bounds = np.array([settings.accel_bounds, settings.curvature_bounds])
    return ((action >= bounds[:, 0]) & (action <= bounds[:, 1])).all(axis=(1, 2))


def integrate(action: Array, t0_speed: float, z: float, dt: float) -> tuple[Array, Array]:
    """The reference's unicycle, from the origin of the ego frame at t0.

    Speed and heading follow the actions exactly, held constant over a step; positions are trapezoidal:
    v' = v + a dt, theta' = theta + kappa (v dt + a dt^2 / 2), p' = p + (v u + v' u') dt / 2, u = (cos, sin) theta.

    Args:
        action: (A, N, 2) acceleration in m/s2, curvature in 1/m.
        t0_speed: m/s.
        z: height of every waypoint, in metres.
        dt: seconds a step.

    Returns:
        Positions (A, N, 3) in metres and rotations (A, N, 3, 3), at dt, 2 dt .. N dt.
    """
    accel, curvature = action[..., 0], action[..., 1]
    start = np.zeros((len(action), 1))
    speed = np.concatenate([start + t0_speed, t0_speed + np.cumsum(accel * dt, axis=1)], axis=1)
    travelled = speed[:, :-1] * dt + accel * dt**2 / 2
    theta = np.concatenate([start, np.cumsum(curvature * travelled, axis=1)], axis=1)
    velocity = speed[..., None] * np.stack([np.cos(theta), np.sin(theta)], axis=-1)

    xyz = np.full((*accel.shape, 3), z)
    xyz[..., :2] = np.cumsum((velocity[:, :-1] + velocity[:, 1:]) * dt / 2, axis=1)
    return xyz, yaw_rotation(theta[:, 1:])


def yaw_rotation(theta: Array) -> Array:
    """(...,) radians to (..., 3, 3) rotations about z."""
    cos, sin = np.cos(theta), np.sin(theta)
    zero, one = np.zeros_like(theta), np.ones_like(theta)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    return np.stack(rows, axis=-1).reshape(*theta.shape, 3, 3)
