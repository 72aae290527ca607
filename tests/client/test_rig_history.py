"""Poses of a simulator, at its own times and in its own frame, to the history that a request needs."""

from types import SimpleNamespace

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError
from alpamayo_client.rig_history import rig_history

T0_US = 1_700_000_000_123_456
TIMES_US = list(range(-1_500_000, 1, 100_000))
RADIUS_M, RAD_PER_S = 20.0, 0.5
FAR_M = np.array([500_000.0, 5_400_000.0, 250.0])  # UTM


def pose_at_time(after_t0_us: int, xyz, quaternion):
    x, y, z, w = quaternion
    vec = SimpleNamespace(x=xyz[0], y=xyz[1], z=xyz[2])
    return SimpleNamespace(
        timestamp_us=T0_US + after_t0_us, pose=SimpleNamespace(vec=vec, quat=SimpleNamespace(x=x, y=y, z=z, w=w))
    )


def on_a_circle(after_t0_us: int, flip: float = 1.0):
    """Heading `yaw`, to the left, around a point far away."""
    yaw = RAD_PER_S * after_t0_us * 1e-6 + 1.0
    xyz = FAR_M + RADIUS_M * np.array([np.sin(yaw), -np.cos(yaw), 0])
    return pose_at_time(after_t0_us, xyz, flip * np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)]))


def expected():
    yaws = RAD_PER_S * np.arange(-15, 1) * 0.1
    xyz = RADIUS_M * np.stack([np.sin(yaws), 1 - np.cos(yaws), 0 * yaws], axis=-1)
    rot = np.array([[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in yaws])
    return xyz, rot


@pytest.mark.parametrize("step_us", [100_000, 20_000, 33_333])
def test_a_car_on_a_circle_far_from_the_origin(step_us):
    poses = [on_a_circle(time, (-1) ** i) for i, time in enumerate(range(-2_000_000, 50_001, step_us))]
    xyz, rot = rig_history(poses[::-1], T0_US)  # in any order, quaternions of either sign
    wanted_xyz, wanted_rot = expected()
    sagitta_m = RADIUS_M * (RAD_PER_S * step_us * 1e-6) ** 2 / 8  # of a chord
    np.testing.assert_allclose(xyz, wanted_xyz, atol=2 * sagitta_m + 1e-6)
    np.testing.assert_allclose(rot, wanted_rot, atol=1e-9)


def test_a_car_that_stands_tilted():
    tilted = np.array([0.1, -0.05, 0.3, 0.9]) / np.linalg.norm([0.1, -0.05, 0.3, 0.9])
    xyz, rot = rig_history([pose_at_time(time, FAR_M, tilted) for time in TIMES_US], T0_US)
    assert np.abs(xyz).max() == 0
    np.testing.assert_allclose(rot, np.tile(np.eye(3), (16, 1, 1)), atol=1e-12)


def test_positions_are_told_in_the_rig_s_own_axes():
    rolled = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])  # its y points up
    poses = [pose_at_time(time, [0, 0, 2e-6 * time], rolled) for time in TIMES_US]
    xyz, _ = rig_history(poses, T0_US)
    np.testing.assert_allclose(xyz[0], [0, -3, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("times_us", "words"),
    [
        ([], r"0 of them, wanted t0-1500 \.\. t0"),
        (TIMES_US[1:], r"from t0-1400\.0 to t0\+0\.0 ms, wanted t0-1500 .*none for t0-1500 ms"),
        (TIMES_US[:-1], r"from t0-1500\.0 to t0-100\.0 ms, .*none for t0\+0 ms"),
        ([-1_500_000, 0], r"up to 1500\.0 ms between neighbours, wanted at most 200\.0 ms"),
        ([*TIMES_US[:5], *TIMES_US[8:]], r"up to 400\.0 ms between neighbours, .*around t0-1000, t0-900, t0-800 ms"),
    ],
)
def test_poses_that_leave_gaps_are_refused_with_the_numbers(times_us, words):
    with pytest.raises(InvalidRequestError, match=rf"ego_pose_history: t0 is the newest.* {T0_US} us; {words}"):
        rig_history([on_a_circle(time) for time in times_us], T0_US)


@pytest.mark.parametrize(
    ("xyz", "quaternion", "words"),
    [
        ([0, 0, np.nan], [0, 0, 0, 1], "ego_pose_history: vec: got .*finite"),
        ([0, 0, 0], [0, 0, 0, 2], "ego_pose_history: quat: got the quaternion .* of length 2, wanted length 1"),
        ([0, 0, 0], [0, 0, 0, 0], "ego_pose_history: quat: got the quaternion .* of length 0"),
    ],
)
def test_what_is_no_pose_is_refused(xyz, quaternion, words):
    poses = [on_a_circle(time) for time in TIMES_US]
    poses[3] = pose_at_time(TIMES_US[3], xyz, quaternion)
    with pytest.raises(InvalidRequestError, match=words):
        rig_history(poses, T0_US)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda pose: setattr(pose.pose, "vec", np.zeros(3)), "'numpy.ndarray' object has no attribute 'x'"),
        (lambda pose: setattr(pose.pose, "quat", (0, 0, 0, 1)), "'tuple' object has no attribute 'x'"),
        (lambda pose: delattr(pose, "pose"), "no attribute 'pose'"),
        (lambda pose: setattr(pose, "timestamp_us", None), "NoneType"),
    ],
)
def test_poses_of_another_form_are_refused(spoil, words):
    poses = [on_a_circle(time) for time in TIMES_US]
    spoil(poses[3])
    with pytest.raises(InvalidRequestError, match=rf"ego_pose_history: .*{words}.*; wanted AlpaSim's PoseAtTime: "):
        rig_history(poses, T0_US)
