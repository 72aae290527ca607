"""Quaternions and interpolation, against Rodrigues' formula written out here."""

import math

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError
from alpamayo_client.robot.poses import check_rotation, interpolate, slerp, to_matrices, to_quaternions

ANGLES = [0.0, 1e-8, 1e-3, 0.5, math.pi / 2, 3.0, math.pi - 1e-9, math.pi]


def about(axis, angle):
    """A matrix and a quaternion: a turn by `angle` about `axis`."""
    x, y, z = axis = np.array(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return matrix, np.array([*(axis * math.sin(angle / 2)), math.cos(angle / 2)])


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, -1), (1, -2, 3)])
def test_matrices_and_quaternions_are_the_same_turn(axis, angle):
    matrix, quaternion = about(axis, angle)
    np.testing.assert_allclose(to_matrices(quaternion), matrix, rtol=0, atol=1e-12)
    found = to_quaternions(matrix)
    assert abs(found @ quaternion) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(to_matrices(found), matrix, rtol=0, atol=1e-12)


def test_a_quarter_to_the_left():
    quarter = check_rotation("rotation", [0, 0, math.sqrt(0.5), math.sqrt(0.5)])
    np.testing.assert_allclose(to_matrices(quarter), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("sign", [1, -1])  # of a quaternion: the same rotation
def test_slerp_turns_at_a_constant_rate(angle, sign):
    first, _ = about((3, 1, 2), 1.0)
    start = to_quaternions(first)
    end = sign * to_quaternions(first @ about((1, -2, 3), angle)[0])
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        between = to_matrices(slerp(start[None], end[None], np.array([[share]])))[0]
        part = angle * share
        wanted = [first @ about((1, -2, 3), turned)[0] for turned in (part, -part if angle == math.pi else part)]
        assert min(np.abs(between - it).max() for it in wanted) < 1e-7  # near a half turn both ways are as short


def test_positions_far_from_the_origin_keep_their_millimetres():
    known_us = 1_700_000_000_000_000 + np.array([0, 40_000, 100_000])
    xyz = np.array([[4e6, -5e6, 100.0], [4e6 + 0.4, -5e6, 100.0], [4e6 + 1.0, -5e6, 100.6]])
    still = np.tile([0.0, 0, 0, 1], (3, 1))
    got, _ = interpolate(known_us, xyz, still, known_us[0] + np.array([0, 10_000, 40_000, 70_000, 100_000]))
    offsets = got - xyz[0]
    np.testing.assert_allclose(offsets[:, 0], [0, 0.1, 0.4, 0.7, 1.0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(offsets[:, 2], [0, 0, 0, 0.3, 0.6], rtol=0, atol=1e-8)


def test_a_matrix_in_single_precision_becomes_the_nearest_rotation():
    matrix, quaternion = about((1, 2, 3), 2.0)
    found = check_rotation("rotation", matrix.astype(np.float32))
    assert abs(found @ quaternion) == pytest.approx(1, abs=1e-12)
    for unit in (found, check_rotation("rotation", quaternion * 1.0009)):
        assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("rotation", "message"),
    [
        ([0, 0, 0, 0], r"quaternion \[0.0, 0.0, 0.0, 0.0\] of length 0, wanted length 1, scalar last"),
        ([0, 0, 1, 1], "of length 1.414"),
        ([0, 0, math.nan, 1], r"wanted \(4,\) or \(3, 3\) finite numbers"),
        ([0, 0, 1], r"got shape \(3,\), wanted \(4,\) or \(3, 3\)"),
        (np.diag([1, 1, -1]), r"wanted an orthonormal \(3, 3\) with determinant \+1"),
        (np.eye(3) * 2, "orthonormal"),
        ("north", r"rotation: wanted \(4,\) or \(3, 3\) finite numbers, got could not convert"),
    ],
)
def test_what_is_no_rotation(rotation, message):
    with pytest.raises(InvalidRequestError, match=message):
        check_rotation("rotation", rotation)
