import numpy as np
import pytest
from alpamayo_client import InvalidRequestError
from alpamayo_client.metrics import min_ade


def test_the_best_sample_counts_on_average_over_sets():
    driven = np.zeros((64, 3))
    predicted = np.zeros((1, 2, 2, 64, 3))
    predicted[0, 0, 0, :, 0] = 3.0
    predicted[0, 0, 0, :, 1] = 4.0  # 5 m off everywhere
    predicted[0, 0, 1, :32, 0] = 2.0  # 2 m off half of the time: 1 m
    predicted[0, 1, :, :, 1] = 7.0
    assert min_ade(predicted, driven) == pytest.approx((1.0 + 7.0) / 2)


def test_height_does_not_count():
    driven = np.zeros((1, 1, 64, 3))
    driven[..., 2] = 50.0
    assert min_ade(np.zeros((1, 1, 1, 64, 3)), driven) == 0.0


def test_the_minimum_is_over_trajectories_not_over_waypoints():
    predicted = np.zeros((1, 1, 2, 64, 3))
    predicted[0, 0, 0, :32, 0] = 2.0
    predicted[0, 0, 1, 32:, 0] = 2.0  # each is right where the other is wrong
    assert min_ade(predicted, np.zeros((64, 3))) == pytest.approx(1.0)


def test_a_future_of_another_length():
    with pytest.raises(InvalidRequestError, match=r"ego_future_xyz: got float64 of shape \(63, 3\)"):
        min_ade(np.zeros((1, 1, 1, 64, 3)), np.zeros((63, 3)))
