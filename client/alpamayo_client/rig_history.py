"""The history that a request needs, from poses as AlpaSim has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import InvalidRequestError
from .rigid import finite
from .robot.poses import Array, check_rotation, history_at
from .robot.selection import why_not_poses

MAX_GAP_US = 200_000  # as a SceneBuffer's


def rig_history(poses: Sequence[Any] | None, t0_us: int) -> tuple[Array, Array]:
    """(16, 3) metres and (16, 3, 3) in the rig frame at t0, at t0 - 1.5 s .. t0.

    Positions are interpolated linearly, orientations along the shortest way (slerp).

    poses: AlpaSim's PoseAtTime in any one frame, in any order: `timestamp_us`, `pose.vec` (.x, .y, .z) in metres,
        `pose.quat` (.x, .y, .z, .w), a rotation from the rig to that frame.

    Raises InvalidRequestError if one is no pose, and if they do not reach from t0 - 1.5 s to t0 with at most 0.2 s
    between neighbours.
    """
    try:
        by_time = {int(it.timestamp_us): _numbers(it.pose) for it in poses or []}
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"ego_pose_history: {error}; wanted AlpaSim's PoseAtTime: timestamp_us, pose.vec (.x, .y, .z), pose.quat "
            "(.x, .y, .z, .w)"
        ) from error
    times_us = np.array(sorted(by_time), dtype=np.int64)
    if reason := why_not_poses(times_us, t0_us, MAX_GAP_US):
        raise InvalidRequestError(f"ego_pose_history: t0 is the newest camera frame's, {t0_us} us; {reason}")
    ordered = [by_time[time] for time in times_us.tolist()]
    xyz = [finite("ego_pose_history: vec", vec, (3,)) for vec, _ in ordered]
    quaternions = [check_rotation("ego_pose_history: quat", quat) for _, quat in ordered]
    history_xyz, history_rot, _ = history_at(t0_us, times_us, np.array(xyz), np.array(quaternions))
    return history_xyz, history_rot


def _numbers(pose: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """(x, y, z) and (x, y, z, w)."""
    vec, quat = pose.vec, pose.quat
    return (vec.x, vec.y, vec.z), (quat.x, quat.y, quat.z, quat.w)
