"""The history that a request needs, from poses at other times and in another frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import HISTORY_STEPS
from .errors import InvalidRequestError

STEP_US = 100_000

Array = NDArray[np.float64]


def rig_history(poses: Sequence[Any], t0_us: int) -> tuple[Array, Array]:
    """(16, 3) metres and (16, 3, 3) in the rig frame at t0, at t0 - 1.5 s .. t0.

    Positions are interpolated linearly, orientations along the shortest way (slerp).

    poses: AlpaSim's PoseAtTime in any one frame: `timestamp_us`, `pose.vec` (x, y, z) in metres, `pose.quat` (x, y, z,
        w), a rotation from the rig to that frame; in any order.

    Raises InvalidRequestError if they do not reach from t0 - 1.5 s to t0.
    """
    wanted_us = np.arange(1 - HISTORY_STEPS, 1) * STEP_US
    by_time = {pose.timestamp_us - t0_us: pose.pose for pose in poses}
    times_us = np.array(sorted(by_time), dtype=np.int64)
    if len(times_us) == 0 or times_us[0] > wanted_us[0] or times_us[-1] < 0:
        got = f"{times_us[0] / 1000:.0f} .. {times_us[-1] / 1000:.0f} ms" if len(times_us) else "none"
        raise InvalidRequestError(
            f"ego_pose_history: got {len(times_us)} poses, {got} after the newest camera frame at {t0_us} us, "
            f"wanted them from {wanted_us[0] / 1000:.0f} ms to 0 ms or later"
        )
    ordered = [by_time[time] for time in times_us.tolist()]
    xyz = np.array([[pose.vec.x, pose.vec.y, pose.vec.z] for pose in ordered], dtype=np.float64)
    quaternions = np.array([[pose.quat.x, pose.quat.y, pose.quat.z, pose.quat.w] for pose in ordered], np.float64)
    places = np.stack([np.interp(wanted_us, times_us, axis) for axis in xyz.T], axis=-1)
    rotations = _matrices(_slerp(wanted_us, times_us, quaternions))
    return (places - places[-1]) @ rotations[-1], rotations[-1].T @ rotations


def _slerp(wanted_us: NDArray[np.int64], times_us: NDArray[np.int64], quaternions: Array) -> Array:
    """(n, 4) unit quaternions at `wanted_us`, all of them inside `times_us`, which is sorted."""
    unit = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    after = np.searchsorted(times_us, wanted_us)
    before = np.maximum(after - 1, 0)
    share = (wanted_us - times_us[before]) / np.maximum(times_us[after] - times_us[before], 1)
    start, end = unit[before], unit[after]
    cosine = np.sum(start * end, axis=-1)
    end = np.where(cosine[:, None] < 0, -end, end)  # q and -q are the same rotation: the nearer one
    angle = np.arccos(np.minimum(np.abs(cosine), 1.0))
    small = angle < 1e-6  # where sines vanish, the chord is the arc
    sine = np.where(small, 1.0, np.sin(angle))
    weight_start = np.where(small, 1 - share, np.sin((1 - share) * angle) / sine)
    weight_end = np.where(small, share, np.sin(share * angle) / sine)
    mixed = weight_start[:, None] * start + weight_end[:, None] * end
    result: Array = mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
    return result


def _matrices(quaternions: Array) -> Array:
    """(n, 3, 3) of unit quaternions (n, 4), x, y, z, w."""
    x, y, z, w = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
