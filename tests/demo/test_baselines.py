"""The blind baselines on motions whose continuation is known in closed form."""

import numpy as np
import pytest
from alpamayo_client.metrics import comfort
from alpamayo_demo.evaluate.baselines import (
    BASELINES,
    constant_acceleration_and_curvature,
    constant_velocity,
    estimate,
)

PAST_S, FUTURE_S = np.arange(-15, 1) / 10, np.arange(1, 65) / 10


def history(x, y=None, yaw=None):
    """Positions (16, 3) and rotations (16, 3, 3), as float32."""
    y, yaw = np.zeros(16) if y is None else y, np.zeros(16) if yaw is None else yaw
    rot = np.tile(np.eye(3), (16, 1, 1))
    rot[:, 0, 0], rot[:, 0, 1], rot[:, 1, 0], rot[:, 1, 1] = np.cos(yaw), -np.sin(yaw), np.sin(yaw), np.cos(yaw)
    return np.stack([x, y, np.zeros(16)], axis=1).astype(np.float32), rot.astype(np.float32)


def on_circle(radius_m, speed):
    """Centre (0, radius): to the left if it is positive."""
    yaw = speed * PAST_S / radius_m
    return history(radius_m * np.sin(yaw), radius_m * (1 - np.cos(yaw)), yaw)


def xy(driven):
    return driven.pred_xyz[0, 0, 0, :, :2]


@pytest.mark.parametrize("drive", BASELINES.values(), ids=BASELINES)
def test_straight_on_at_constant_speed(drive):
    driven = drive(estimate(*history(10 * PAST_S)))
    assert driven.pred_xyz.shape == (1, 1, 1, 64, 3)
    assert driven.action.shape == (1, 1, 1, 64, 2)
    np.testing.assert_allclose(xy(driven), np.stack([10 * FUTURE_S, 0 * FUTURE_S], axis=1), atol=0.01)


@pytest.mark.parametrize("accel", [1.5, -1.5])
def test_constant_acceleration(accel):
    motion = estimate(*history(10 * PAST_S + accel * PAST_S**2 / 2))
    assert (motion.speed, motion.accel, motion.curvature) == pytest.approx((10, accel, 0), abs=1e-3)
    on = xy(constant_acceleration_and_curvature(motion))
    np.testing.assert_allclose(on[:, 0], 10 * FUTURE_S + accel * FUTURE_S**2 / 2, atol=0.02)
    np.testing.assert_allclose(xy(constant_velocity(motion))[:, 0], 10 * FUTURE_S, atol=0.01)


@pytest.mark.parametrize("radius_m", [20.0, -20.0])
def test_a_circle(radius_m):
    motion = estimate(*on_circle(radius_m, 8.0))
    assert (motion.speed, motion.accel, motion.curvature) == pytest.approx((8, 0, 1 / radius_m), abs=2e-3)
    on = xy(constant_acceleration_and_curvature(motion))
    yaw = 8 * FUTURE_S / radius_m
    np.testing.assert_allclose(on, radius_m * np.stack([np.sin(yaw), 1 - np.cos(yaw)], axis=1), atol=0.05)
    assert xy(constant_velocity(motion))[:, 1].any() == 0


def test_braking_ends_at_a_stand():
    driven = constant_acceleration_and_curvature(estimate(*history(4 * PAST_S - PAST_S**2)))  # 4 m/s less 2 m/s2
    np.testing.assert_allclose(xy(driven)[20:, 0], 4.0, atol=0.01)  # 2 s and 4 m later
    assert comfort(driven.pred_xyz, driven.action).min_speed_mps >= -1e-5


def test_who_stands_or_rolls_back_stays():
    for x in (0 * PAST_S, -0.5 * PAST_S):
        motion = estimate(*history(x))
        assert (motion.speed, motion.curvature) == (pytest.approx(0, abs=1e-6), 0)
        np.testing.assert_allclose(xy(constant_velocity(motion)), 0, atol=1e-5)


def test_only_the_last_poses_count():
    xyz, rot = on_circle(20.0, 8.0)
    earlier = xyz.copy()
    earlier[:8] += 1.0
    assert estimate(earlier, rot) == estimate(xyz, rot)
