"""The history that a request needs, from poses at other times and in another frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import HISTORY_STEPS
from .errors import InvalidRequestError
from .robot.poses import interpolate, to_matrices

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
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    places, turns = interpolate(times_us, xyz, quaternions, wanted_us)
    rotations = to_matrices(turns)
    return (places - places[-1]) @ rotations[-1], rotations[-1].T @ rotations
