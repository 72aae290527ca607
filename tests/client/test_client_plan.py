"""A trajectory between its waypoints, by hand."""

import math

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError, NoPlanError, Scene
from alpamayo_client.prediction import parse_response
from alpamayo_client.robot.plan import Plan
from little_triton import SPEED_MPS, answer, response_message
from tritonclient.grpc import InferResult

T0_US = 1_700_000_000_000_000
WORLD = np.array([[0, -1, 0, 5e5], [1, 0, 0, 5.4e6], [0, 0, 1, 300], [0, 0, 0, 1.0]])  # the car heads along the y axis


@pytest.fixture
def plan(encoded, history):
    def make(trajectory=(0, 0), scene=None, **changes):
        scene = scene or Scene(encoded, *history, t0_us=T0_US, ego_to_world=WORLD)
        return Plan(parse_response(InferResult(response_message(answer(**changes))), scene), trajectory)

    return make


def test_straight_on_in_the_world(plan):
    straight = plan()
    for seconds in (0.0, 0.01, 0.1, 0.25, 3.33333, 6.4):
        waypoint = straight.at(T0_US + round(seconds * 1e6), T0_US + 200_000)
        np.testing.assert_allclose(waypoint.xyz, [5e5, 5.4e6 + SPEED_MPS * seconds, 300], rtol=0, atol=1e-4)
        np.testing.assert_allclose(waypoint.rot, WORLD[:3, :3], rtol=0, atol=1e-12)
        assert waypoint.yaw_rad == pytest.approx(math.pi / 2)
        assert waypoint.speed_mps == pytest.approx(SPEED_MPS, abs=1e-4)
        assert waypoint.age_s == 0.2


def test_a_circle_at_growing_speed(plan):
    """Radius 20 m to the left, 1 m/s2 from 2 m/s on."""
    t = np.arange(1, 65) / 10
    angle = (2 * t + t**2 / 2) / 20
    xyz = np.stack([20 * np.sin(angle), 20 - 20 * np.cos(angle), 0 * t], axis=-1)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), 0 * t, 0 * t + 1
    rot = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=-1).reshape(64, 3, 3)
    circle = plan(pred_xyz=xyz[None, None, None].astype(np.float32), pred_rot=rot[None, None, None].astype(np.float32))
    for seconds in (0.05, 1.234567, 4.01):
        waypoint = circle.at(T0_US + round(seconds * 1e6), T0_US)
        angle = (2 * seconds + seconds**2 / 2) / 20
        wanted = [5e5 - 20 + 20 * math.cos(angle), 5.4e6 + 20 * math.sin(angle), 300]
        np.testing.assert_allclose(waypoint.xyz, wanted, rtol=0, atol=0.006)  # chords
        assert waypoint.yaw_rad == pytest.approx(math.pi / 2 + angle, abs=2e-3)  # the rate grows within a step
        assert waypoint.speed_mps == pytest.approx(2 + seconds, rel=2e-3)


def test_backward_is_negative(plan):
    assert plan(pred_xyz=-answer()["pred_xyz"]).at(T0_US + 100_000, T0_US).speed_mps == pytest.approx(-SPEED_MPS)


def test_one_of_many(plan):
    rot = answer(2, 3)["pred_rot"]
    rot[0, 1, 2] = WORLD[:3, :3]
    waypoint = plan((1, 2), sets=2, samples=3, pred_rot=rot).at(T0_US + 100_000, T0_US)
    np.testing.assert_allclose(waypoint.xyz, [5e5 - 5, 5.4e6 + 0.9, 300], rtol=0, atol=1e-4)  # 5 m to the left
    assert abs(waypoint.yaw_rad) == pytest.approx(math.pi)  # a quarter more


@pytest.mark.parametrize(("offset_us", "seconds"), [(-1, "-0.000 s"), (6_400_001, "6.400 s")])
def test_outside_there_is_none(plan, offset_us, seconds):
    with pytest.raises(
        NoPlanError, match=rf"t0_us={T0_US} to {T0_US + 6_400_000}, .* {seconds} after t0, wanted 0 .. 6.4 s"
    ):
        plan().at(T0_US + offset_us, T0_US)


def test_a_scene_without_time_or_place(plan, encoded, history):
    with pytest.raises(InvalidRequestError, match="ego_to_world: this prediction's scene had none"):
        plan(scene=Scene(encoded, *history, t0_us=T0_US))
    with pytest.raises(InvalidRequestError, match="scene had no t0_us"):
        plan(scene=Scene(encoded, *history, ego_to_world=WORLD))
