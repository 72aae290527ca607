"""Speed from poses, against motion of known speed. Bad histories are in the tests of the whole request."""

import numpy as np
import pytest
from contract import InvalidRequest
from ego_history import check_history, estimate_speeds, speed_residual_mps
from hypothesis import given, settings
from hypothesis import strategies as st
from motion import DT, history, yaw_rotations


def t0_speed(xyz, rot) -> float:
    return float(estimate_speeds(xyz.astype(float), rot.astype(float))[-1])


def too_fast(speed: float, curvature: float) -> float:
    """On a curve the estimate's straight trapezoids need tan(h) / h of the speed, h half the turn between two poses."""
    h = abs(curvature * speed * DT / 2)
    return np.tan(h) / h if h else 1.0


@pytest.mark.parametrize("curvature", [0.0, 0.1, -0.2])
@pytest.mark.parametrize("speed", [0.0, 0.5, 12.0, 35.0, -2.0])
def test_constant_speed(speed, curvature):
    wanted = speed * too_fast(speed, curvature)
    assert t0_speed(*history(speed, curvature=curvature)) == pytest.approx(wanted, abs=1e-4 + 1e-4 * abs(speed))


@pytest.mark.parametrize("curvature", [0.0, 0.05])
@pytest.mark.parametrize("accel", [-5.0, 1.0, 4.0])
def test_constant_acceleration(accel, curvature):
    """Third differences of such speeds are zero: their penalty bends nothing."""
    poses = history(15.0, accel, curvature)
    found = estimate_speeds(*(x.astype(float) for x in poses))
    wanted = 15.0 + accel * np.arange(-15, 1) * DT
    np.testing.assert_allclose(found, wanted * [too_fast(v, curvature) for v in wanted], rtol=0, atol=5e-3)


@given(
    speed=st.floats(0, 35),
    accel=st.floats(-3, 3),
    curvature=st.floats(-0.1, 0.1),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_a_real_motion_is_accepted_and_its_speed_found(speed, accel, curvature):
    xyz, rot = history(speed, accel, curvature)
    check_history(xyz, rot)
    assert t0_speed(xyz, rot) == pytest.approx(speed * too_fast(speed, curvature), abs=0.01)


def naive_speeds(xyz, rot, v_lambda, v_ridge):
    """The same least squares, written out row by row as alpamayo.md says it, and solved as one stacked system."""
    yaw = np.unwrap(np.arctan2(rot[:, 1, 0], rot[:, 0, 0]))
    rows, right = [], []
    for t in range(15):
        for axis, u in enumerate((np.cos(yaw), np.sin(yaw))):
            row = np.zeros(16)
            row[t], row[t + 1] = u[t], u[t + 1]
            rows.append(row)
            right.append(2 * (xyz[t + 1, axis] - xyz[t, axis]) / DT)
    for t in range(13):
        row = np.zeros(16)
        row[t : t + 4] = [-1, 3, -3, 1]
        rows.append(np.sqrt(v_lambda) / DT**3 * row)
        right.append(0)
    rows += list(np.sqrt(v_ridge) * np.eye(16))
    right += [0] * 16
    return np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]


@given(seed=st.integers(0, 10**6), v_lambda=st.floats(1e-8, 1e-3), v_ridge=st.floats(1e-6, 1e-1))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_the_estimate_is_the_least_squares_solution(seed, v_lambda, v_ridge):
    rng = np.random.default_rng(seed)
    xyz = np.cumsum(rng.normal(size=(16, 3)), axis=0)
    rot = yaw_rotations(rng.uniform(-7, 7, 16))
    found = estimate_speeds(xyz, rot, v_lambda=v_lambda, v_ridge=v_ridge)
    np.testing.assert_allclose(found, naive_speeds(xyz, rot, v_lambda, v_ridge), rtol=0, atol=1e-6)


def test_height_plays_no_role():
    flat, steep = history(10.0, curvature=0.05), history(10.0, curvature=0.05, z_slope=0.2)
    assert t0_speed(*flat) == t0_speed(*steep)


def test_the_residual_tells_transposed_headings():
    xyz, rot = (x.astype(float) for x in history(8.0, curvature=0.05))
    assert speed_residual_mps(xyz, rot) < 0.01
    assert speed_residual_mps(xyz, rot.transpose(0, 2, 1)) > 0.5


def test_straight_ahead_nobody_can_tell():
    xyz, rot = history(20.0)
    check_history(xyz, rot.transpose(0, 2, 1))


@pytest.mark.parametrize("curvature", [0.02, -0.02, 0.2])
@pytest.mark.parametrize("speed", [5.0, 15.0])
def test_transposed_headings_are_refused(speed, curvature):
    xyz, rot = history(speed, curvature=curvature)
    check_history(xyz, rot)
    with pytest.raises(InvalidRequest, match="looks transposed"):
        check_history(xyz, rot.transpose(0, 2, 1))


def test_noisy_poses_are_no_transposed_ones():
    """Standing still under centimetres of noise, headings fit neither way."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        xyz = rng.normal(scale=0.05, size=(16, 3)).astype(np.float32)
        rot = yaw_rotations(rng.normal(scale=0.02, size=16)).astype(np.float32)
        xyz[-1], rot[-1] = 0, np.eye(3)
        check_history(xyz, rot)


def test_a_pose_that_points_straight_up_has_a_speed():
    """Its yaw is atan2(0, 0) = 0 for the reference; it must not make the whole trajectory NaN."""
    xyz, rot = history(0.0)
    rot[3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    check_history(xyz, rot)
    assert t0_speed(xyz, rot) == pytest.approx(0, abs=1e-9)
