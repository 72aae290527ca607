"""The unicycle against the reference, from the recorded actions."""

import numpy as np
import pytest
from ego_history import estimate_speeds
from unicycle import denormalize, predict

CLOSE = dict(rtol=0, atol=1e-3)


def numpy_of(golden, *names):
    return [golden[name].numpy() for name in names]


@pytest.fixture(scope="module")
def prediction(golden, space):
    action, xyz, rot = numpy_of(golden, "action", "ego_history_xyz", "ego_history_rot")
    owner = np.arange(len(action), dtype=np.int32)
    return predict(action, owner, xyz[0, 0], rot[0, 0], space)


def test_t0_speed(golden, space):
    xyz, rot, speed = numpy_of(golden, "ego_history_xyz", "ego_history_rot", "t0_speed")
    estimate = estimate_speeds(
        xyz[0, 0].astype(float), rot[0, 0].astype(float), v_lambda=space.v_lambda, v_ridge=space.v_ridge
    )
    np.testing.assert_allclose(estimate[-1], speed[0], **CLOSE)


@pytest.mark.parametrize("name", ["pred_xyz", "pred_rot"])
def test_answer(golden, prediction, name):
    (wanted,) = numpy_of(golden, name)
    assert prediction[name].shape == wanted.shape
    np.testing.assert_allclose(prediction[name], wanted, **CLOSE)


def test_actions_are_in_si_units(golden, prediction, space):
    mean, std = np.array([0.02902694707164455, 0.0002692167976330542]), np.array([0.6810426736454882, 0.0261482806608])
    np.testing.assert_allclose(prediction["action"][0, 0], golden["action"].numpy() * std + mean, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(denormalize(np.zeros((1, 2)), space), [[space.accel_mean, space.curvature_mean]])
