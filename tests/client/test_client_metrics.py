"""Every number here can be checked by hand: distances are constant over stretches of waypoints, actions over time."""

import math

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError
from alpamayo_client.metrics import ade, ade_of_mean, comfort, fde, min_ade, min_ade_by_horizon, min_fde, miss_rate

STANDING = np.zeros((64, 3))
DISTANCE_METRICS = [ade, fde, min_ade, min_ade_by_horizon, ade_of_mean, min_fde, miss_rate]


def predict(*sets):
    """(1, sets, samples, 64, 3) from each sample's distances: STANDING was driven, so that x alone is the distance."""
    xyz = np.zeros((1, len(sets), len(sets[0]), 64, 3))
    xyz[0, ..., 0] = sets
    return xyz


def metres(*stretches):
    """(64,) from (waypoints, metres) one after the other."""
    return np.concatenate([np.full(count, distance) for count, distance in stretches])


# Best over 6.4 s is the second (32 m in 64 waypoints, against 64 m); over 0.5 s it is the first.
LATE, EARLY = metres((32, 0.0), (32, 2.0)), metres((32, 1.0), (32, 0.0))


def test_distances_per_trajectory():
    predicted = predict([LATE, EARLY], [metres((64, 3.0)), metres((63, 0.0), (1, 6.4))])
    np.testing.assert_allclose(ade(predicted, STANDING), [[[1.0, 0.5], [3.0, 0.1]]])
    np.testing.assert_allclose(fde(predicted, STANDING), [[[2.0, 0.0], [3.0, 6.4]]], rtol=1e-6)


def test_distances_are_taken_in_x_and_y():
    driven = np.tile([10.0, 20.0, 50.0], (64, 1))
    predicted = np.tile([13.0, 16.0, 0.0], (1, 1, 1, 64, 1))  # 3 and 4 m off, and 50 m below
    assert ade(predicted, driven) == fde(predicted, driven) == 5.0
    assert min_ade(predicted, driven) == ade_of_mean(predicted, driven) == min_fde(predicted, driven) == 5.0
    assert min_ade_by_horizon(predicted, driven) == dict.fromkeys([0.5, 1.0, 3.0, 5.0, 6.4], 5.0)


def test_waypoints_are_compared_with_those_of_the_same_time():
    driven = np.zeros((64, 3))
    driven[:, 0] = np.arange(64)
    predicted = driven[None, None, None] + [0.0, 1.0, 0.0]
    assert ade(predicted, driven) == fde(predicted, driven) == 1.0


def test_a_future_may_have_the_references_batch_axes():
    assert min_ade(predict([LATE]), STANDING[None, None]) == 1.0


def test_the_best_sample_counts_on_average_over_sets():
    predicted = predict([metres((64, 5.0)), LATE], [metres((64, 7.0)), metres((64, 9.0))])
    assert min_ade(predicted, STANDING) == pytest.approx((1.0 + 7.0) / 2)
    assert min_fde(predicted, STANDING) == pytest.approx((2.0 + 7.0) / 2)


def test_the_minimum_is_over_trajectories_not_over_waypoints():
    predicted = predict([metres((32, 2.0), (32, 0.0)), metres((32, 0.0), (32, 2.0))])  # right where the other is wrong
    assert min_ade(predicted, STANDING) == pytest.approx(1.0)


def test_a_horizon_cuts_the_sample_that_is_best_over_all_of_it():
    predicted = predict([LATE, EARLY])
    assert min_ade_by_horizon(predicted, STANDING) == pytest.approx(
        {0.5: 1.0, 1.0: 1.0, 3.0: 1.0, 5.0: 32 / 50, 6.4: 0.5}
    )
    assert min_ade_by_horizon(predicted, STANDING, [6.4]) == {6.4: min_ade(predicted, STANDING)}


def test_every_set_has_its_own_best_sample_at_a_horizon():
    predicted = predict([LATE, EARLY], [metres((3, 4.0), (61, 0.0)), metres((64, 10.0))])
    assert min_ade_by_horizon(predicted, STANDING, [0.3, 0.6]) == pytest.approx(
        {0.3: (1.0 + 4.0) / 2, 0.6: (1.0 + 2.0) / 2}
    )


def test_horizons_are_times_of_waypoints():
    predicted = predict([np.arange(1.0, 65.0)])  # the mean of 1 .. n is (n + 1) / 2
    horizons = [0.1, 0.1 * 3, np.float32(0.7), 2, np.float32(6.4)]  # floats just above and below
    found = min_ade_by_horizon(predicted, STANDING, horizons)
    assert list(found) == horizons
    assert list(found.values()) == pytest.approx([1.0, 2.0, 4.0, 10.5, 32.5])


@pytest.mark.parametrize("horizon_s", [0, -0.5, 0.04, 0.05, 0.55, 6.45, 6.5, 64, math.nan, math.inf])
def test_a_horizon_between_or_beyond_the_waypoints(horizon_s):
    with pytest.raises(InvalidRequestError, match=rf"horizons_s: got {horizon_s} s, wanted .*: 0\.1, 0\.2 \.\. 6\.4 s"):
        min_ade_by_horizon(predict([LATE]), STANDING, [0.5, horizon_s])


def test_a_horizon_that_is_no_number():
    with pytest.raises(InvalidRequestError, match="horizons_s: got '1', wanted a number"):
        min_ade_by_horizon(predict([LATE]), STANDING, "1")


def test_opposite_trajectories_have_a_mean_between_them():
    predicted = predict([metres((64, 6.0)), metres((64, -6.0))], [metres((64, 8.0)), metres((64, -4.0))])
    assert ade_of_mean(predicted, STANDING) == pytest.approx(1.0)  # (6 - 6 + 8 - 4) / 4


def test_the_final_distance_has_a_best_sample_of_its_own():
    predicted = predict([metres((64, 1.0)), metres((63, 5.0), (1, 0.5))])
    assert min_fde(predicted, STANDING) == 0.5


def test_a_set_misses_if_all_of_its_samples_end_too_far_away():
    hit = [metres((63, 9.0), (1, 2.0)), metres((64, 3.0))]  # at the threshold is a hit
    missed = [metres((63, 0.0), (1, 2.01)), metres((64, 3.0))]
    assert miss_rate(predict(hit), STANDING) == 0.0
    assert miss_rate(predict(missed), STANDING) == 1.0
    assert miss_rate(predict(hit, missed, missed, missed), STANDING) == 0.75
    assert miss_rate(predict(hit, missed, missed, missed), STANDING, threshold_m=2.5) == 0.0
    assert miss_rate(predict(hit, missed, missed, missed), STANDING, threshold_m=1) == 1.0


@pytest.mark.parametrize("threshold_m", [0, -2.0, math.nan, math.inf])
def test_a_threshold_that_is_none(threshold_m):
    with pytest.raises(InvalidRequestError, match=f"threshold_m: got {threshold_m}, wanted metres above zero"):
        miss_rate(predict([LATE]), STANDING, threshold_m)


def with_nan():
    predicted = predict([LATE])
    predicted[0, 0, 0, 7, 1] = np.nan
    return predicted


@pytest.mark.parametrize("metric", [*DISTANCE_METRICS, comfort])
@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (np.zeros((1, 1, 64, 3)), r"got float64 of shape \(1, 1, 64, 3\), wanted .* \(1, sets, samples, 64, 3\)"),
        (np.zeros((2, 1, 1, 64, 3)), r"got float64 of shape \(2, 1, 1, 64, 3\), wanted"),
        (np.zeros((1, 1, 1, 63, 3)), r"got float64 of shape \(1, 1, 1, 63, 3\), wanted"),
        (np.zeros((1, 1, 1, 64, 2)), r"got float64 of shape \(1, 1, 1, 64, 2\), wanted"),
        (np.zeros((1, 1, 0, 64, 3)), r"got float64 of shape \(1, 1, 0, 64, 3\), wanted"),
        (np.zeros((1, 1, 1, 64, 3), str), "got <U1 of shape .*, wanted floating-point numbers"),
        (with_nan(), r"1 of 192 numbers are not finite, the first at \(0, 0, 0, 7, 1\)"),
        ([[1, 2], [3]], "wanted an array of numbers in host memory, got"),
    ],
)
def test_predictions_that_are_none(metric, predicted, message):
    other = np.zeros((1, 1, 1, 64, 2)) if metric is comfort else STANDING
    with pytest.raises(InvalidRequestError, match=f"pred_xyz: {message}"):
        metric(predicted, other)


@pytest.mark.parametrize("metric", DISTANCE_METRICS)
@pytest.mark.parametrize(
    ("driven", "message"),
    [
        (np.zeros((63, 3)), r"got float64 of shape \(63, 3\), wanted .* \(64, 3\)"),
        (np.full((64, 3), np.inf), "192 of 192 numbers are not finite"),
    ],
)
def test_futures_that_are_none(metric, driven, message):
    with pytest.raises(InvalidRequestError, match=f"ego_future_xyz: {message}"):
        metric(predict([LATE]), driven)


def drive(t0_speed, acceleration, curvature):
    """`comfort`'s arguments for one trajectory, step by step along the contract's kinematics; scalars are constant."""
    pairs = np.stack(np.broadcast_arrays(acceleration, curvature, np.zeros(64))[:2], axis=-1)
    x = y = theta = 0.0
    speed, xyz = t0_speed, []
    for a, kappa in pairs:
        next_speed, next_theta = speed + a * 0.1, theta + kappa * (speed * 0.1 + a * 0.005)
        x += (speed * math.cos(theta) + next_speed * math.cos(next_theta)) * 0.05
        y += (speed * math.sin(theta) + next_speed * math.sin(next_theta)) * 0.05
        speed, theta = next_speed, next_theta
        xyz.append([x, y, 0.0])
    return np.array(xyz)[None, None, None], pairs[None, None, None]


def comfort_of(*driving):
    """Comfort's five numbers in the order of its fields, of one trajectory."""
    found = comfort(*drive(*driving))
    return [value.item() for value in vars(found).values()]


def test_comfort_has_a_value_per_trajectory():
    cars = [drive(speed, 0.0, 0.0) for speed in range(1, 7)]
    xyz, action = (np.concatenate(arrays, axis=2).reshape(1, 2, 3, 64, -1) for arrays in zip(*cars, strict=True))
    found = comfort(xyz, action)
    assert [value.shape for value in vars(found).values()] == [(1, 2, 3)] * 5
    np.testing.assert_allclose(found.min_speed_mps, [[[1, 2, 3], [4, 5, 6]]], rtol=1e-6)


@pytest.mark.parametrize("side", [1, -1])
def test_lateral_acceleration_in_a_circle(side):
    # 10 m/s on a radius of 20 m: v^2 / r = 5 m/s2
    assert comfort_of(10.0, 0.0, side * 0.05) == pytest.approx([0.0, 0.05, 0.0, 5.0, 10.0], rel=1e-6)


def test_a_start_in_a_hairpin():
    # After 2 rad in the first 0.1 s, the car is 0.5 (1 + cos 2) = 0.29 m ahead; a straight step were 1 m.
    assert comfort_of(10.0, 0.0, 2.0)[-2:] == pytest.approx([200.0, 10.0], rel=1e-6)


def test_speeding_up_counts_to_the_end_of_the_last_step():
    # 2 m/s to 2 + 64 * 0.1 * 0.5 = 5.2 m/s: 0.1 * 5.2^2 = 2.704
    assert comfort_of(2.0, 0.5, 0.1) == pytest.approx([0.5, 0.1, 0.0, 2.704, 2.0], rel=1e-6)


def test_braking_counts_from_t0():
    # 8 m/s to 8 - 64 * 0.1 = 1.6 m/s: 0.1 * 8^2 = 6.4
    assert comfort_of(8.0, -1.0, 0.1) == pytest.approx([1.0, 0.1, 0.0, 6.4, 1.6], rel=1e-6)


def test_braking_past_standstill_is_going_backwards():
    # 2 m/s to 2 - 6.4 = -4.4 m/s: 0.1 * 4.4^2 = 1.936
    assert comfort_of(2.0, -1.0, 0.1) == pytest.approx([1.0, 0.1, 0.0, 1.936, -4.4], rel=1e-6)


@pytest.mark.parametrize("curvature", [0.0, 0.2, -0.2])
def test_backwards_from_the_start(curvature):
    assert comfort_of(-3.0, 0.0, curvature)[-1] == pytest.approx(-3.0, rel=1e-6)


def test_jerk_is_between_steps():
    acceleration = np.array([3.0] * 20 + [2.5] * 20 + [3.2] * 24)  # -0.5 and +0.7 m/s2 in 0.1 s
    assert comfort_of(20.0, acceleration, 0.0) == pytest.approx([3.2, 0.0, 7.0, 0.0, 20.0], rel=1e-5)
    assert comfort_of(20.0, -acceleration, 0.0)[2] == pytest.approx(7.0, rel=1e-5)


def test_lateral_acceleration_is_large_where_curvature_and_speed_are_together():
    curvature = np.zeros(64)
    curvature[9:11] = -0.1, 0.02  # 0.9 .. 1.0 s and 1.0 .. 1.1 s, at 10 .. 11 and 11 .. 12 m/s
    assert comfort_of(1.0, 10.0, curvature)[1:4] == pytest.approx([0.1, 0.0, 0.1 * 11**2], rel=1e-5)


def test_standing_still_and_stopping_in_the_first_step():
    assert comfort_of(0.0, 0.0, 0.0) == [0.0] * 5
    acceleration = np.array([-10.0] + [0.0] * 63)
    assert comfort_of(1.0, acceleration, 0.1) == pytest.approx([10.0, 0.1, 100.0, 0.1, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((1, 1, 1, 64, 3)), r"got float64 of shape \(1, 1, 1, 64, 3\), wanted .* \(1, sets, samples, 64, 2\)"),
        (np.zeros((1, 1, 2, 64, 2)), r"got shape \(1, 1, 2, 64, 2\), wanted \(1, 1, 1, 64, 2\) to go with pred_xyz"),
        (np.full((1, 1, 1, 64, 2), np.nan), "128 of 128 numbers are not finite"),
    ],
)
def test_actions_that_are_none(action, message):
    with pytest.raises(InvalidRequestError, match=f"action: {message}"):
        comfort(predict([LATE]), action)
