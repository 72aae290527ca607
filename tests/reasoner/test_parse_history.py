"""The ego history of a request: every bad one is refused, with what came and what was wanted."""

import numpy as np
import pytest
from parsing import changed


def rotation(degrees: float, axis: str = "z") -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array({"z": [[c, -s, 0], [s, c, 0], [0, 0, 1]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}[axis])


def test_standing_still_is_a_history_like_any_other(parse):
    still = {
        "ego_history_xyz": np.zeros((16, 3), np.float32),
        "ego_history_rot": np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)),
    }
    assert np.array_equal(parse(still).ego_history_xyz, still["ego_history_xyz"])


@pytest.mark.parametrize("name", ["ego_history_xyz", "ego_history_rot"])
def test_a_missing_history(refusal, name):
    assert f"input {name} is missing" in refusal({name: None})


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ego_history_xyz", (15, 3)),
        ("ego_history_xyz", (16, 2)),
        ("ego_history_xyz", (1, 16, 3)),
        ("ego_history_rot", (16, 3)),
        ("ego_history_rot", (16, 4, 4)),
        ("ego_history_rot", (17, 3, 3)),
    ],
)
def test_a_history_of_a_wrong_shape(refusal, name, shape):
    message = refusal({name: np.zeros(shape, np.float32)})
    assert f"{name} must have shape (16, 3" in message
    assert str(shape) in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "index"), [("ego_history_xyz", (3, 1)), ("ego_history_rot", (4, 2, 0))])
def test_a_history_that_is_not_finite(refusal, good, name, index, bad):
    message = refusal({name: changed(good[name], index, bad)})
    assert f"{name} must be finite" in message
    assert f"got {bad} at {list(index)}" in message


def test_a_history_in_world_coordinates(refusal, good):
    message = refusal({"ego_history_xyz": good["ego_history_xyz"] + np.float32([350_000.0, 5_600_000.0, 40.0])})
    assert "ego_history_xyz[-1] must be the origin within 0.001 m" in message
    assert "ego frame at t0" in message


def test_a_history_a_little_off_the_origin(refusal, parse, good):
    parse({"ego_history_xyz": good["ego_history_xyz"] + np.float32(0.0009 / 3**0.5)})
    for axis in range(3):
        moved = changed(good["ego_history_xyz"], (-1, axis), -0.0011)
        assert "ego_history_xyz[-1] must be the origin" in refusal({"ego_history_xyz": moved})


def test_a_history_with_headings_of_the_world(refusal, good):
    turned = (rotation(30) @ good["ego_history_rot"]).astype(np.float32)
    message = refusal({"ego_history_rot": turned})
    assert "ego_history_rot[-1] must be the identity within 0.001" in message
    assert "ego frame at t0" in message


def test_a_history_in_millimetres(refusal, good):
    message = refusal({"ego_history_xyz": good["ego_history_xyz"] * 1000})
    assert "within 1000 m" in message
    assert "metres" in message


@pytest.mark.parametrize(
    ("what", "matrix"),
    [
        ("mirrored", np.diag([1, -1, 1])),
        ("scaled", 1.01 * np.eye(3)),
        ("sheared", np.array([[1, 0.01, 0], [0, 1, 0], [0, 0, 1]])),
        ("zero", np.zeros((3, 3))),
        ("all mirrored", -np.eye(3)),
    ],
)
def test_matrices_that_are_no_rotations(refusal, good, what, matrix):
    message = refusal({"ego_history_rot": changed(good["ego_history_rot"], 7, matrix)})
    assert "ego_history_rot must hold rotations" in message
    assert "at [7]" in message
    assert f"determinant is {np.linalg.det(matrix):.3g}" in message


def curve(speed=8.0, curvature=0.05):
    """A steady left turn that ends at the origin, heading along x."""
    t = np.arange(-15, 1) * 0.1
    yaw = curvature * speed * t
    xyz = np.stack([np.sin(yaw), 1 - np.cos(yaw), 0 * yaw], axis=-1) / curvature
    return xyz.astype(np.float32), np.stack([rotation(np.degrees(a)) for a in yaw]).astype(np.float32)


def test_transposed_rotations(refusal, parse):
    xyz, rot = curve()
    parse({"ego_history_xyz": xyz, "ego_history_rot": rot})
    message = refusal({"ego_history_xyz": xyz, "ego_history_rot": rot.transpose(0, 2, 1)})
    assert "ego_history_rot looks transposed" in message
    assert "must map vectors of the ego frame at t to the ego frame at t0" in message


def test_driving_backwards_is_not_transposed(parse):
    xyz, rot = curve(speed=-3.0)
    assert parse({"ego_history_xyz": xyz, "ego_history_rot": rot}).num_traj_samples == 1
