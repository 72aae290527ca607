"""The unicycle against an independent integration, its inverse, and the layout of its answer."""

from dataclasses import replace

import numpy as np
import pytest
from contract import InvalidRequest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion import DT, curvature_of, history, rk4
from unicycle import denormalize, integrate, predict, within_bounds, yaw_rotation

ZERO_HISTORY = (np.zeros((16, 3), np.float32), np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)))


def controls(seed: int, accel: float, curvature: float, speed: float) -> np.ndarray:
    """(64, 2) random controls of up to these sizes, the car never slower than 1 m/s."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(-accel, accel, 64)
    v = speed
    for i in range(64):
        a[i] = max(a[i], (1 - v) / DT)
        v += a[i] * DT
    return np.stack([a, rng.uniform(-curvature, curvature, 64)], -1)


def trapezoid_bound(action: np.ndarray, states: np.ndarray, speed: float) -> float:
    """The trapezoidal rule's error: dt^3 / 12 max |(v u)''| a step, (v u)'' = 3 a kappa v u_n - kappa^2 v^3 u."""
    a, kappa = np.abs(action).T
    fastest = np.maximum(np.abs(states[:, 3]), np.abs(np.concatenate([[speed], states[:-1, 3]])))
    return float((DT**3 / 12 * (3 * a * kappa * fastest**2 + kappa**2 * fastest**3)).sum())


driving = dict(
    seed=st.integers(0, 10**6), accel=st.floats(0, 9.8), curvature=st.floats(0, 0.33), speed=st.floats(1, 40)
)


@given(**driving)
@settings(deadline=None, max_examples=12, derandomize=True)
def test_integration_in_fine_steps(seed, accel, curvature, speed):
    action = controls(seed, accel, curvature, speed)
    states = rk4(*action.T, speed)
    xyz, rot = integrate(action[None], speed, 0.0, DT)
    heading = np.stack([np.cos(states[:, 2]), np.sin(states[:, 2])], -1)
    np.testing.assert_allclose(rot[0, :, :2, 0], heading, rtol=0, atol=1e-8)  # exact, whatever the step
    error = np.linalg.norm(xyz[0, :, :2] - states[:, :2], axis=-1)
    assert error.max() <= trapezoid_bound(action, states, speed) + 1e-9


def test_the_error_shrinks_with_the_square_of_the_step():
    """So that the bound above is the discretisation's, and nothing else hides in it."""
    action = controls(1, 3, 0.1, 10)
    exact = rk4(*action.T, 10.0)[-1, :2]

    def error(parts: int) -> float:
        xyz, _ = integrate(np.repeat(action, parts, axis=0)[None], 10.0, 0.0, DT / parts)
        return float(np.linalg.norm(xyz[0, -1, :2] - exact))

    assert error(1) > 1e-4
    assert error(10) == pytest.approx(error(1) / 100, rel=0.05)


@given(**driving)
@settings(deadline=None, max_examples=50, derandomize=True)
def test_inverse(seed, accel, curvature, speed):
    """Actions come back from the trajectory: speeds from displacements, a = dv / dt, kappa = dtheta / ds."""
    action = controls(seed, accel, curvature, speed)
    xyz, rot = integrate(action[None], speed, 0.0, DT)
    theta = np.unwrap(np.concatenate([[0], np.arctan2(rot[0, :, 1, 0], rot[0, :, 0, 0])]))
    u = np.stack([np.cos(theta), np.sin(theta)], -1)
    step = np.diff(np.concatenate([[[0, 0]], xyz[0, :, :2]]), axis=0)
    v = [speed]
    for i in range(64):  # dp = (v u + v' u') dt / 2, projected on u'
        v.append(float((2 * step[i] / DT - v[-1] * u[i]) @ u[i + 1]))
    v = np.array(v)
    np.testing.assert_allclose(np.diff(v) / DT, action[:, 0], rtol=0, atol=1e-6)
    distance = (v[:-1] + v[1:]) / 2 * DT
    np.testing.assert_allclose(np.diff(theta) / distance, action[:, 1], rtol=0, atol=1e-6)


def test_straight_ahead_at_constant_speed():
    xyz, rot = integrate(np.zeros((1, 64, 2)), 10.0, 1.5, DT)
    np.testing.assert_allclose(xyz[0], np.stack([np.arange(1, 65.0), np.zeros(64), np.full(64, 1.5)], -1), atol=1e-9)
    np.testing.assert_array_equal(rot[0], np.tile(np.eye(3), (64, 1, 1)))


def test_braking_to_a_stop():
    action = np.zeros((1, 64, 2))
    action[0, :20, 0] = -5
    xyz, _ = integrate(action, 10.0, 0.0, DT)
    np.testing.assert_allclose(xyz[0, 19:, 0], 10**2 / (2 * 5), atol=1e-9)


def test_positive_curvature_turns_left_on_a_circle():
    action = np.zeros((1, 64, 2))
    action[..., 1] = 0.02
    xyz, rot = integrate(action, 10.0, 0.0, DT)
    assert (xyz[0, :, 1] > 0).all()
    np.testing.assert_allclose(np.linalg.norm(xyz[0, :, :2] - [0, 50], axis=-1), 50, atol=0.01)
    theta = np.arctan2(rot[0, :, 1, 0], rot[0, :, 0, 0])
    np.testing.assert_allclose(curvature_of(xyz[0], theta), 0.02, rtol=1e-3)


@given(st.floats(-10, 10))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_yaw_rotation(theta):
    rot = yaw_rotation(np.array([theta]))[0]
    np.testing.assert_allclose(rot @ rot.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rot) == pytest.approx(1)
    np.testing.assert_allclose(rot @ [1, 0, 0], [np.cos(theta), np.sin(theta), 0], atol=1e-12)


# predict


def normalized(space, action) -> np.ndarray:
    mean, std = [space.accel_mean, space.curvature_mean], [space.accel_std, space.curvature_std]
    return ((np.asarray(action) - mean) / std).astype(np.float32)


def owners(sets: int, samples: int) -> np.ndarray:
    return np.tile(np.arange(samples, dtype=np.int32), sets)


def test_trajectories_go_where_their_speed_and_their_actions_lead(space):
    xyz, rot = history(speed=10.0, curvature=0.01)
    action = normalized(space, np.full((1, 64, 2), [0.5, 0.01]))
    answer = predict(action, owners(1, 1), xyz, rot, space)
    wanted = rk4(np.full(64, 0.5), np.full(64, 0.01), 10.0)
    np.testing.assert_allclose(answer["pred_xyz"][0, 0, 0, :, :2], wanted[:, :2], atol=0.02)
    np.testing.assert_allclose(answer["action"][0, 0, 0], np.full((64, 2), [0.5, 0.01]), atol=1e-6)


def test_layout_is_sets_by_samples(space):
    sets, samples = 3, 2
    rng = np.random.default_rng(0)
    action = rng.normal(size=(sets * samples, 64, 2)).astype(np.float32)
    xyz, rot = history(speed=5.0)
    answer = predict(action, owners(sets, samples), xyz, rot, space)
    assert {name: (array.shape, array.dtype.name) for name, array in answer.items()} == {
        "pred_xyz": ((1, sets, samples, 64, 3), "float32"),
        "pred_rot": ((1, sets, samples, 64, 3, 3), "float32"),
        "action": ((1, sets, samples, 64, 2), "float32"),
        "within_bounds": ((1, sets, samples), "bool"),
    }
    for a in range(sets * samples):
        alone = predict(action[a : a + 1], owners(1, 1), xyz, rot, space)
        for name in answer:
            np.testing.assert_array_equal(answer[name][0, a // samples, a % samples], alone[name][0, 0, 0])


def test_waypoints_are_level_with_the_last_pose(space):
    """z is the last pose's, which may be off by the tolerance; that of earlier poses plays no role."""
    xyz, rot = history(speed=5.0, z_slope=0.1)
    xyz[-1, 2] = 0.0009
    answer = predict(np.zeros((1, 64, 2), np.float32), owners(1, 1), xyz, rot, space)
    np.testing.assert_array_equal(answer["pred_xyz"][..., 2], np.float32(0.0009))


@pytest.mark.parametrize(
    ("which", "value", "inside"),
    [(0, 9.7, True), (0, -9.7, True), (0, 9.9, False), (0, -9.9, False), (1, 0.32, True), (1, -0.34, False)],
)
def test_bounds(space, which, value, inside):
    action = np.zeros((2, 64, 2))
    action[1, 40, which] = value
    assert within_bounds(action, space).tolist() == [True, inside]
    answer = predict(normalized(space, action), owners(2, 1), *ZERO_HISTORY, space)
    assert answer["within_bounds"].tolist() == [[[True], [inside]]]


def test_bounds_are_inclusive(space):
    action = np.tile([9.8, -0.33], (1, 64, 1))
    assert within_bounds(action, space).all()
    tight = replace(space, accel_bounds=(-1.0, np.nextafter(9.8, 0)))
    assert not within_bounds(action, tight).any()


def test_denormalize(space):
    settings = replace(space, accel_mean=1.0, accel_std=2.0, curvature_mean=10.0, curvature_std=0.5)
    np.testing.assert_array_equal(denormalize(np.array([[3.0, 4.0]]), settings), [[7.0, 12.0]])


def refusal(space, action=None, owner=None, xyz=None, rot=None) -> str:
    still_xyz, still_rot = ZERO_HISTORY
    with pytest.raises(InvalidRequest) as refused:
        predict(
            np.zeros((4, 64, 2), np.float32) if action is None else action,
            owners(2, 2) if owner is None else np.array(owner, np.int32),
            still_xyz if xyz is None else xyz,
            still_rot if rot is None else rot,
            space,
        )
    return str(refused.value)


@pytest.mark.parametrize(
    "owner",
    [[0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 2, 0], [0, 1, 0, 2], [-1, -1, -1, -1], [0, -1, 0, -1], [0, 1, 0, 2**31 - 1]],
)
def test_owners_must_count_the_samples_of_every_set(space, owner):
    message = refusal(space, owner=owner)
    assert "action_owner must count 0 .. samples - 1 once for every set" in message
    assert str(owner) in message


@pytest.mark.parametrize("owner", [[0, 1], [], [[0, 1, 0, 1]]])
def test_owners_must_be_as_many_as_the_actions(space, owner):
    assert "action_owner must have shape (4,)" in refusal(space, owner=owner)


@pytest.mark.parametrize("shape", [(0, 64, 2), (4, 63, 2), (4, 64, 3), (4, 128), (1, 4, 64, 2)])
def test_actions_of_a_wrong_shape(space, shape):
    message = refusal(space, action=np.zeros(shape, np.float32))
    assert "normalized_action must have shape (n, 64, 2)" in message
    assert str(shape) in message


def test_more_trajectories_than_the_repository_was_exported_for(space):
    action = np.zeros((33, 64, 2), np.float32)
    assert predict(action[1:], owners(1, 32), *ZERO_HISTORY, space)["pred_xyz"].shape == (1, 1, 32, 64, 3)
    message = refusal(space, action=action, owner=owners(1, 33))
    assert "normalized_action holds 33 trajectories; this repository was exported for at most 32" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_actions_that_are_not_finite(space, bad):
    action = np.zeros((4, 64, 2), np.float32)
    action[2, 9, 1] = bad
    assert f"normalized_action must be finite; got {bad} at [2, 9, 1]" in refusal(space, action=action)


@pytest.mark.parametrize("huge", [1e6, -1e9, 1e20, float(np.finfo(np.float32).max)])
@pytest.mark.filterwarnings("error")
def test_extreme_actions_are_refused_not_overflowed(space, huge):
    action = np.zeros((4, 64, 2), np.float32)
    action[3] = huge
    message = refusal(space, action=action)
    assert "normalized_action" in message
    assert f"{abs(np.float32(huge)):g}" in message


@pytest.mark.filterwarnings("error")
def test_extreme_curvature_standing_still_is_an_answer(space):
    action = normalized(space, np.zeros((1, 64, 2)))
    action[..., 0] = np.float32(-space.accel_mean / space.accel_std)
    action[..., 1] = 1e30
    answer = predict(action, owners(1, 1), *ZERO_HISTORY, space)
    assert np.isfinite(answer["pred_xyz"]).all()
    assert not answer["within_bounds"].any()


def test_the_history_is_checked_here_too(space):
    xyz, rot = history(speed=5.0)
    assert "ego_history_xyz[-1] must be the origin" in refusal(space, xyz=xyz + np.float32(1))
    assert "ego_history_rot must be finite" in refusal(space, rot=rot * np.float32(np.nan))
