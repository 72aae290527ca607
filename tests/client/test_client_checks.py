"""Each bad input is named, with what came and what was wanted."""

import math
from array import array

import numpy as np
import pytest
from alpamayo_client import AlpamayoError, InvalidRequestError
from alpamayo_client.checks import check_timeout
from alpamayo_client.request import build_request


def image(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("image_frames", "message"),
    [
        (image(4, 3, 32, 48), r"got uint8 of shape \(4, 3, 32, 48\), wanted uint8 RGB of shape \(cameras, frames, 3,"),
        (image(4, 4, 32, 48, 3), r"got uint8 of shape \(4, 4, 32, 48, 3\), wanted"),
        (image(4, 4, 3, 32, 48, dtype=np.float32), r"got float32 of shape \(4, 4, 3, 32, 48\), wanted uint8"),
        (image(0, 4, 3, 32, 48), r"got uint8 of shape \(0, 4, 3, 32, 48\), wanted"),
        ([[b"a", b"b"], [b"a"]], r"got 2 cameras with \[1, 2\] frames each, wanted .* the same number"),
        ([], r"got 0 cameras with \[\] frames each, wanted at least one camera"),
        ([[]], r"got 1 cameras with \[0\] frames each, wanted .* at least one"),
        ([b"a", b"b"], r"got list of bytes, wanted .* nested lists of bytes, \[camera\]\[frame\]"),
        (b"a", "got bytes, wanted"),
        (None, "got NoneType, wanted"),
        ([[b"a", "front.jpg"]], r"image_frames\[0\]\[1\]: got str, wanted JPEG or PNG files"),
        ([[image(3, 32, 48)]], r"image_frames\[0\]\[0\]: got ndarray, wanted .* or a uint8 array"),
    ],
)
def test_frames(history, image_frames, message):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        build_request(image_frames, *history, {})
    assert str(caught.value).startswith("image_frames")


def moved(xyz, rot):
    return xyz + np.array([100.0, 0.0, 0.0]), rot


def turned(xyz, rot):
    return xyz, rot @ np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def with_nan(xyz, rot):
    xyz[3, 1] = np.nan
    return xyz, rot


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            moved,
            r"ego_history_xyz: the last position is \[100\.0, 0\.0, 0\.0\] m, wanted the origin .* ego frame at t0",
        ),
        (turned, r"ego_history_rot: the last rotation is .*, wanted the identity .* ego frame at t0"),
        (with_nan, r"ego_history_xyz: 1 of 48 numbers are not finite, the first at \(3, 1\)"),
        (lambda xyz, rot: (xyz * 1e300, rot), r"ego_history_xyz: \d+ of 48 numbers are not finite"),
        (
            lambda xyz, rot: (xyz[1:], rot),
            r"ego_history_xyz: got float64 of shape \(15, 3\), wanted .* shape \(16, 3\)",
        ),
        (lambda xyz, rot: (xyz, rot[:, :2]), r"ego_history_rot: got float64 of shape \(16, 2, 3\), wanted"),
        (lambda xyz, rot: (np.stack([xyz, xyz])[None], rot), r"ego_history_xyz: got float64 of shape \(1, 2, 16, 3\)"),
        (lambda xyz, rot: (xyz.astype(str), rot), r"ego_history_xyz: got <U.* of shape \(16, 3\), wanted floating"),
        (lambda xyz, rot: ([[1, 2], [3]], rot), "ego_history_xyz: wanted an array of numbers in host memory, got"),
    ],
)
def test_history(frames, history, spoil, message):
    with pytest.raises(InvalidRequestError, match=message):
        build_request(frames, *spoil(*history), {})


def test_a_history_within_a_millimetre_of_the_origin_is_sent_as_it_is(frames, history):
    xyz, rot = history
    request = build_request(frames, xyz + np.array([9e-4, 0, 0]), rot + 9e-4, {})
    assert request.inputs["ego_history_xyz"][-1, 0] == np.float32(9e-4)
    with pytest.raises(InvalidRequestError):
        build_request(frames, xyz + np.array([1.1e-3, 0, 0]), rot, {})
    with pytest.raises(InvalidRequestError):
        build_request(frames, xyz, rot + 1.1e-3, {})


def test_noise_of_another_count(frames, history):
    with pytest.raises(InvalidRequestError, match=r"noise: got float64 of shape \(3, 64, 2\), wanted .*\(6, 64, 2\)"):
        build_request(frames, *history, {"num_traj_samples": 3, "num_traj_sets": 2}, noise=np.zeros((3, 64, 2)))


@pytest.mark.parametrize(
    ("reasoning", "message"),
    [
        ("Keep lane.", "reasoning: got str, wanted a list of at least one str"),
        ([], "reasoning: got an empty list, wanted a list of at least one str"),
        ([b"Keep lane."], "reasoning: got list of bytes, wanted a list of at least one str"),
        (["\ud800"], "reasoning: wanted text that is valid Unicode"),
        (["a"] * 4, "reasoning: got 4 thoughts and num_traj_samples=3, wanted at least as many samples"),
    ],
)
def test_reasoning(frames, history, reasoning, message):
    with pytest.raises(InvalidRequestError, match=message):
        build_request(frames, *history, {"num_traj_samples": 3}, reasoning=reasoning)


def test_files_as_cameras_give_them(history):
    """ROS 2's CompressedImage has an array, OpenCV's imencode gives numpy's."""
    file = b"\xff\xd8\xff and so on"
    given = [file, bytearray(file), memoryview(file), array("B", file), np.frombuffer(file, np.uint8)]
    request = build_request([given], *history, {})
    assert request.inputs["encoded_frames"].tolist() == [[file] * 5]
    for no_file in (np.zeros((2, 3), np.uint8), np.zeros(3, np.int16), "text", 7):
        with pytest.raises(InvalidRequestError, match=r"image_frames\[0\]\[0\]: got .*wanted JPEG or PNG files"):
            build_request([[no_file]], *history, {})


def test_invalid_requests_are_value_errors_and_errors_of_the_package():
    assert issubclass(InvalidRequestError, ValueError)
    assert issubclass(InvalidRequestError, AlpamayoError)


@pytest.mark.parametrize("timeout_s", [0, -1, math.inf, math.nan, 1e16, 10**400])
def test_timeouts_that_no_clock_can_hold(timeout_s):
    with pytest.raises(InvalidRequestError, match="timeout_s"):
        check_timeout(timeout_s)
