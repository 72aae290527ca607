"""Rotations as quaternions (x, y, z, w), and poses between those that are known. Everything is float64."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidRequestError
from ..rigid import TOLERANCE, finite, is_rotation
from .selection import POSE_OFFSETS_US

Array = NDArray[np.float64]


def check_rotation(name: str, value: ArrayLike) -> Array:
    """The unit quaternion (4,) of a rotation that came as one, scalar last, or as a matrix (3, 3)."""
    rotation = finite(name, value, (4,), (3, 3))
    if rotation.ndim == 1:
        norm = np.linalg.norm(rotation)
        if abs(norm - 1) > TOLERANCE:
            raise InvalidRequestError(
                f"{name}: got the quaternion {rotation.tolist()} of length {norm:.4g}, wanted length 1, scalar last"
            )
        return rotation / norm
    if not is_rotation(rotation):
        raise InvalidRequestError(
            f"{name}: got {rotation.tolist()}, wanted an orthonormal (3, 3) with determinant +1, or a quaternion"
        )
    return to_quaternions(rotation)


def to_quaternions(matrices: Array) -> Array:
    """(..., 3, 3) to (..., 4), each the nearest unit quaternion: the largest eigenvector of Bar-Itzhack's matrix."""
    m = np.moveaxis(matrices, (-2, -1), (0, 1))
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    return np.linalg.eigh(np.moveaxis(k, (0, 1), (-2, -1)))[1][..., -1]


def to_matrices(quaternions: Array) -> Array:
    """(..., 4) of length 1 to (..., 3, 3)."""
    x, y, z, w = np.moveaxis(quaternions, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def history_at(t0_us: int, known_us: NDArray[np.int64], xyz: Array, quaternions: Array) -> tuple[Array, Array, Array]:
    """`ego_history_xyz` (16, 3) metres and `ego_history_rot` (16, 3, 3) in the ego frame at t0, and `ego_to_world`.

    The poses (n, 3), (n, 4), ego to world, are known at `known_us` (n,), ascending, and reach from t0 - 1.5 s to t0.
    """
    at_xyz, at_quaternions = interpolate(known_us, xyz, quaternions, t0_us + POSE_OFFSETS_US)
    rot = to_matrices(at_quaternions)
    ego_to_world = np.eye(4)
    ego_to_world[:3, :3], ego_to_world[:3, 3] = rot[-1], at_xyz[-1]
    return (at_xyz - at_xyz[-1]) @ rot[-1], rot[-1].T @ rot, ego_to_world


def interpolate(
    known_us: NDArray[np.int64], xyz: Array, quaternions: Array, wanted_us: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Positions (m, 3), linearly, and unit quaternions (m, 4), by slerp, at `wanted_us` (m,).

    Poses (n, 3), (n, 4) are known at `known_us` (n,), ascending, n at least 2; `wanted_us` lie between its ends.
    """
    after = np.clip(np.searchsorted(known_us, wanted_us, side="right"), 1, len(known_us) - 1)
    before = after - 1
    share = ((wanted_us - known_us[before]) / (known_us[after] - known_us[before]))[:, None]
    positions = xyz[before] + share * (xyz[after] - xyz[before])
    return positions, slerp(quaternions[before], quaternions[after], share)


def slerp(start: Array, end: Array, share: Array) -> Array:
    """Unit quaternions (m, 4) at `share` (m, 1), 0 .. 1, of the shorter way from `start` to `end`, at constant rate."""
    end = np.where(np.sum(start * end, axis=-1, keepdims=True) < 0, -end, end)  # both signs are the same rotation
    # Accurate for small angles too, where an arc cosine is not.
    angle = 2 * np.arctan2(
        np.linalg.norm(end - start, axis=-1, keepdims=True), np.linalg.norm(end + start, axis=-1, keepdims=True)
    )
    near = angle < 1e-9  # there the sines' ratio is that of the angles
    sine = np.where(near, 1.0, np.sin(angle))
    weights = [np.where(near, part, np.sin(part * angle) / sine) for part in (1 - share, share)]
    between = weights[0] * start + weights[1] * end
    return between / np.linalg.norm(between, axis=-1, keepdims=True)
