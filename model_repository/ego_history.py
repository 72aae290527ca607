"""The ego history: 1.6 s of poses at 10 Hz in the ego frame at t0, their validation, and the speeds they imply.

A copy goes beside every `model.py` that reads the history. `ego_history_rot[t]` maps vectors of the ego frame at t to
the ego frame at t0; x is forward, y left, z up.
"""

import numpy as np
import numpy.typing as npt
from contract import HISTORY_POSES, InvalidRequest, check_finite, check_shape

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-3  # m for the origin, and on every element of a rotation
TRANSPOSED_RESIDUAL_MPS = 0.05
TRANSPOSED_RATIO = 10.0
MAX_POSITION_M = 1000.0  # 1.6 s at more than 600 m/s


def check_history(xyz: npt.NDArray[np.float32], rot: npt.NDArray[np.float32]) -> None:
    """Refuses a history that would silently spoil the trajectory: speed is estimated from it, never given.

    Args:
        xyz: (16, 3) positions in metres, oldest first.
        rot: (16, 3, 3) rotations.

    Raises:
        InvalidRequest: not finite, not in the ego frame at t0, no rotations, or rotations given transposed.
    """
    check_shape("ego_history_xyz", xyz, (HISTORY_POSES, 3))
    check_shape("ego_history_rot", rot, (HISTORY_POSES, 3, 3))
    check_finite("ego_history_xyz", xyz)
    check_finite("ego_history_rot", rot)
    positions, rotations = xyz.astype(np.float64), rot.astype(np.float64)
    _check_ego_frame(positions, rotations)
    _check_rotations(rotations)
    _check_not_transposed(positions, rotations)


def _check_ego_frame(xyz: Array, rot: Array) -> None:
    hint = "give all poses in the ego frame at t0, the frame of the last pose"
    if np.linalg.norm(xyz[-1]) > TOLERANCE:
        raise InvalidRequest(f"ego_history_xyz[-1] must be the origin within {TOLERANCE} m, got {xyz[-1]}; {hint}")
    if np.abs(xyz).max() > MAX_POSITION_M:
        raise InvalidRequest(
            f"ego_history_xyz must lie within {MAX_POSITION_M:.0f} m, got {np.abs(xyz).max():.6g} m; {hint}, in metres"
        )
    if np.abs(rot[-1] - np.eye(3)).max() > TOLERANCE:
        raise InvalidRequest(
            f"ego_history_rot[-1] must be the identity within {TOLERANCE}, got {rot[-1].tolist()}; {hint}"
        )


def _check_rotations(rot: Array) -> None:
    error = np.abs(rot @ rot.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    determinant = np.linalg.det(rot)
    bad = np.flatnonzero((error > TOLERANCE) | (determinant < 0))
    if len(bad):
        t = int(bad[0])
        raise InvalidRequest(
            f"ego_history_rot must hold rotations: R R^T = 1 within {TOLERANCE} and determinant +1; at [{t}] they "
            f"differ by {error[t]:.3g} and the determinant is {determinant[t]:.3g}"
        )


def _check_not_transposed(xyz: Array, rot: Array) -> None:
    given = speed_residual_mps(xyz, rot)
    transposed = speed_residual_mps(xyz, rot.transpose(0, 2, 1))
    if given > TRANSPOSED_RESIDUAL_MPS and given > TRANSPOSED_RATIO * transposed:
        raise InvalidRequest(
            f"ego_history_rot looks transposed: the motion fits its headings to {given:.3g} m/s, and those of its "
            f"transpose to {transposed:.3g} m/s; ego_history_rot[t] must map vectors of the ego frame at t to the ego "
            "frame at t0"
        )


def speed_residual_mps(xyz: Array, rot: Array) -> float:
    """How badly positions and headings agree: the root mean square error of the speed fit, in m/s."""
    design, target = _speed_equations(xyz, rot, dt=0.1)
    residual = design @ estimate_speeds(xyz, rot) - target
    return float(np.sqrt(np.mean(residual**2))) / 2


def estimate_speeds(xyz: Array, rot: Array, *, dt: float = 0.1, v_lambda: float = 1e-6, v_ridge: float = 1e-4) -> Array:
    """Speeds at the history's poses, in m/s, (T,); the last one is the speed at t0.

    The reference's estimate: trapezoidal displacements in the direction of the headings, v[t] u[t] + v[t+1] u[t+1] =
    2 (p[t+1] - p[t]) / dt in least squares, with a penalty on third differences (v_lambda / dt^6) and a ridge.

    Args:
        xyz: (T, 3) positions in metres.
        rot: (T, 3, 3) rotations.
        dt: seconds between poses.
        v_lambda: weight of the third differences.
        v_ridge: weight of the ridge.
    """
    design, target = _speed_equations(xyz, rot, dt)
    poses = len(xyz)
    third_difference = np.diff(np.eye(poses), n=3, axis=0)
    normal = design.T @ design + v_lambda / dt**6 * third_difference.T @ third_difference + v_ridge * np.eye(poses)
    return np.linalg.solve(normal, design.T @ target)


def _speed_equations(xyz: Array, rot: Array, dt: float) -> tuple[Array, Array]:
    """The (2 (T - 1), T) design matrix and the (2 (T - 1),) right-hand side, rows alternating between x and y."""
    poses = len(xyz)
    yaw = np.arctan2(rot[:, 1, 0], rot[:, 0, 0])  # defined for every rotation, also straight up
    heading = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    design = np.zeros((poses - 1, 2, poses))
    step = np.arange(poses - 1)
    design[step, :, step] = heading[:-1]
    design[step, :, step + 1] = heading[1:]
    return design.reshape(-1, poses), (2 * np.diff(xyz[:, :2], axis=0) / dt).reshape(-1)
