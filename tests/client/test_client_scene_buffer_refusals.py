"""What a SceneBuffer refuses, and in what words."""

import math

import numpy as np
import pytest
import torch
from alpamayo_client import InvalidRequestError, NoSceneError, SceneBuffer
from alpamayo_client.cameras import CAMERAS
from filled_buffer import MS, T0_US, file, filmed, full, push_frames, push_poses, refusal, yaw


def test_a_refusal_names_everything_that_is_wrong_with_its_milliseconds():
    buffer = SceneBuffer(["left", "front", "right", "tele"])
    push_frames(buffer, "left", range(-900, -699, 100))
    push_frames(buffer, "front", (-210, -100, 0))
    push_frames(buffer, "tele", range(-300, 1, 100))
    push_poses(buffer, [*range(-1210, -600, 40), *range(-300, 1, 40)])
    assert refusal(buffer) == (
        f"no scene at t0_us={T0_US - 20 * MS}: "
        "camera 'left': 700.0 ms behind the newest (camera 'tele'), wanted at most 500.0 ms; "
        "camera 'front': 3 frames from t0-190.0 to t0+20.0 ms, wanted 4 within 50.0 ms of t0-300, t0-200, t0-100, t0+0 "
        "ms: misses t0-300 ms by 110.0 ms; "
        "camera 'right': no frames, wanted 4 within 50.0 ms of t0-300, t0-200, t0-100, t0+0 ms; "
        "poses: from t0-1190.0 to t0+0.0 ms, wanted t0-1500 .. t0+0.0 ms: none for t0-1500, t0-1400, t0-1300, t0-1200 "
        "ms"
    )


@pytest.mark.parametrize(
    ("pose_times_ms", "t0_ms", "message"),
    [
        (range(-1600, 1, 40), 1, r"poses: from t0-1601.0 to t0-1.0 ms, wanted .*: none for t0\+0 ms$"),
        (range(-1480, 1, 40), 0, r"poses: from t0-1480.0 to t0\+0.0 ms, wanted t0-1500 .* none for t0-1500 ms$"),
        ([0], 0, r"poses: 1 of them, wanted t0-1500 .. t0\+0.0 ms$"),
        ([], 0, r"poses: 0 of them, wanted"),
        (
            [*range(-1600, -419, 40), *range(-170, 1, 10)],
            0,
            r"poses: up to 270.0 ms between neighbours, wanted at most 200.0 ms: too far apart around t0-400, t0-300, "
            r"t0-200 ms$",
        ),
        (range(-1600, 1, 40), -501, r"t0: 501.0 ms behind the newest \(poses\), wanted at most 500.0 ms"),
        (range(-1600, 1, 40), 51, r"camera 'right': 5 frames .*: misses t0\+0 ms by 51.0 ms"),
        (
            range(-1600, 1, 40),
            -150,
            r"camera 'left': 5 frames from t0-250.0 to t0\+150.0 ms, .* misses t0-300 ms by 50",
        ),
    ],
)
def test_what_is_refused(pose_times_ms, t0_ms, message):
    buffer = filmed(image_tolerance_ms=49.9 if t0_ms == -150 else 50)
    push_poses(buffer, pose_times_ms)
    with pytest.raises(NoSceneError, match=message):
        buffer.scene(T0_US + t0_ms * MS)


def test_one_frame_never_serves_twice():
    buffer = SceneBuffer(["left"], image_tolerance_ms=100)
    push_frames(buffer, "left", range(-300, 1, 150))
    push_poses(buffer, range(-1600, 1, 40))
    assert refusal(buffer).endswith("one would have to serve twice")


def test_an_empty_buffer():
    assert "camera 'left': no frames, wanted 4" in refusal(SceneBuffer(["left"]))
    assert "poses: 0 of them" in refusal(SceneBuffer(["left"]), T0_US)


def test_two_poses_at_their_own_time_need_no_neighbours():
    """A pose that is there is not interpolated, however far the next one is."""
    buffer = filmed(pose_gap_ms=0)
    push_poses(buffer, range(-1600, 1, 100))
    assert buffer.scene(T0_US).t0_us == T0_US
    assert "too far apart" in refusal(buffer, T0_US - 1 * MS)


def test_what_comes_too_late_is_refused_with_its_age():
    buffer = full(max_lag_ms=500, image_tolerance_ms=50, pose_gap_ms=200)
    push_frames(buffer, "left", [-850])  # 500 + 50 + 300
    push_poses(buffer, [-2200])  # 500 + 200 + 1500
    with pytest.raises(
        InvalidRequestError, match=r"frame of camera 'left': got one 851.0 ms older .* at most 850.0 ms"
    ):
        push_frames(buffer, "left", [-851])
    with pytest.raises(
        InvalidRequestError, match=r"pose: got one 2201.0 ms older than the newest, .* clear\(\) the buffer"
    ):
        push_poses(buffer, [-2201])
    buffer.clear()
    push_frames(buffer, "left", [-851])


def test_one_time_in_the_future_is_named_with_what_to_do():
    """It has pushed its camera's other frames out, and made everything else stale."""
    buffer = full()
    push_frames(buffer, "left", [3_600_000])
    assert refusal(buffer) == (
        f"no scene at t0_us={T0_US + 3_600_000 * MS}: "
        "camera 'right': 3600000.0 ms behind the newest (camera 'left'), wanted at most 500.0 ms; "
        "poses: 3600000.0 ms behind the newest (camera 'left'), wanted at most 500.0 ms; "
        "camera 'left': 3600000.0 ms ahead of all others: if that time is wrong, clear() the buffer; with clock_us= it "
        "refuses such times"
    )
    with pytest.raises(InvalidRequestError, match=r"or the newest one's time is wrong, clear\(\) the buffer"):
        push_frames(buffer, "left", [100])
    buffer.clear()
    push_frames(buffer, "left", [100])


def test_with_a_clock_times_in_the_future_are_refused_and_harm_nothing():
    buffer = full(clock_us=lambda: T0_US, max_lag_ms=400)
    for push, name in (
        (lambda ms: push_frames(buffer, "left", [ms]), "frame of camera 'left'"),
        (lambda ms: push_poses(buffer, [ms]), "pose"),
    ):
        with pytest.raises(InvalidRequestError, match=rf"{name}: got .*, 400.1 ms ahead of clock_us, .* most 400.0 ms"):
            push(400.1)
        assert buffer.scene().t0_us == T0_US
        push(400)


@pytest.mark.parametrize(
    ("camera", "timestamp_us", "image", "message"),
    [
        ("rear", T0_US, file("a"), r"camera: got 'rear', wanted one of \['left', 'right'\]"),
        (0, T0_US, file("a"), "camera: got 0, wanted one of"),
        (["left"], T0_US, file("a"), r"camera: got \['left'\], wanted one of"),
        ("left", 1.7e9, file("a"), "timestamp_us: got 1700000000.0, wanted an integer"),
        ("left", T0_US, "a.jpg", r"image: got <U5 of shape \(\), wanted a JPEG or PNG file's bytes, or uint8 RGB"),
        ("left", T0_US, np.zeros((32, 48, 3), np.uint8), r"shape \(32, 48, 3\), .* transpose\(2, 0, 1\)"),
        ("left", T0_US, np.zeros((3, 32, 48)), "image: got float64"),
        ("left", T0_US, b"a.jpg", "image: got 5 bytes that start with '61 2e 6a 70 67', wanted a JPEG or PNG file's"),
        ("left", T0_US, b"", "image: got 0 bytes"),
        (
            "left",
            T0_US,
            torch.zeros((3, 32, 48), dtype=torch.uint8, device="meta"),  # as on a GPU: not in host memory
            "image: wanted an array of numbers in host memory, got .* meta",
        ),
    ],
)
def test_frames_that_are_none(camera, timestamp_us, image, message):
    with pytest.raises(InvalidRequestError, match=message):
        SceneBuffer(["left", "right"]).push_frame(camera, timestamp_us, image)


@pytest.mark.parametrize(
    ("timestamp_us", "xyz", "rotation", "message"),
    [
        (0.5, (0, 0, 0), yaw(0), "timestamp_us: got 0.5"),
        (0, (0, 0), yaw(0), r"xyz: got shape \(2,\), wanted \(3,\) finite numbers"),
        (0, (0, 0, math.inf), yaw(0), r"xyz: got \[0.0, 0.0, inf\]"),
        (0, torch.zeros(3, device="meta"), yaw(0), "xyz: wanted .* got .* meta"),
        (0, torch.zeros(3, requires_grad=True), yaw(0), "xyz: wanted .* got .* grad"),
        (0, (0, 0, 0), (0, 0, 1, 1), "rotation: got the quaternion"),
    ],
)
def test_poses_that_are_none(timestamp_us, xyz, rotation, message):
    with pytest.raises(InvalidRequestError, match=message):
        SceneBuffer(["left"]).push_pose(timestamp_us, xyz, rotation)


def test_encoded_frames_and_pixels_do_not_mix_and_pixels_are_of_one_size():
    buffer = full()
    with pytest.raises(
        InvalidRequestError, match=r"'left' got one that is uint8 of shape \(3, 32, 48\) after .* encoded"
    ):
        buffer.push_frame("left", T0_US, np.zeros((3, 32, 48), np.uint8))
    buffer.clear()
    buffer.push_frame("left", T0_US, np.zeros((3, 32, 48), np.uint8))
    with pytest.raises(InvalidRequestError, match=r"\(3, 32, 64\) after others that were uint8 of shape \(3, 32, 48\)"):
        buffer.push_frame("right", T0_US, np.zeros((3, 32, 64), np.uint8))


@pytest.mark.parametrize(
    ("cameras", "limits", "message"),
    [
        ([], {}, r"cameras: got \[\], wanted a list of at least one"),
        ("left", {}, "cameras: got 'left'"),
        (["a", "a"], {}, "each once"),
        (5, {}, "cameras: got 5, wanted a list of at least one"),
        ([["a"], ["b"]], {}, r"cameras: got \['a'\], wanted an integer"),
        ([1, 0], {}, r"cameras: got \[1, 0\], wanted the model's order, ascending camera index: \[0, 1\]"),
        (
            ["mine", CAMERAS[6], "another", CAMERAS[0]],
            {},
            f"cameras: got .*wanted the model's order, .*{CAMERAS[0]}', '{CAMERAS[6]}'",
        ),
        ([0, "a"], {}, "cameras: got 'a', wanted an integer"),
        (["a"], {"image_tolerance_ms": -1}, "image_tolerance_ms: got -1, wanted milliseconds"),
        (["a"], {"max_lag_ms": math.inf}, "max_lag_ms: got inf"),
        (["a"], {"pose_gap_ms": "1"}, "pose_gap_ms: got '1', wanted a number"),
        (["a"], {"frames_per_camera": 3}, "frames_per_camera: got 3, wanted at least 4"),
        (["a"], {"frames_per_camera": 1, "frame_offsets_ms": (-500, 0)}, "frames_per_camera: got 1, wanted at least 2"),
        (["a"], {"frame_offsets_ms": ()}, r"frame_offsets_ms: got \(\), wanted ascending milliseconds"),
        (["a"], {"frame_offsets_ms": 0}, "frame_offsets_ms: got 0, wanted"),
        (["a"], {"frame_offsets_ms": (0, -500)}, "frame_offsets_ms: got"),
        (["a"], {"frame_offsets_ms": (-500, -500, 0)}, "each once"),
        (["a"], {"frame_offsets_ms": (-500, -100)}, "the last 0: t0"),
        (["a"], {"frame_offsets_ms": (-math.inf, 0)}, "frame_offsets_ms: got"),
        (["a"], {"frame_offsets_ms": (-3_600_001, 0)}, "an hour before it at most"),
        (["a"], {"frame_offsets_ms": ("a", 0)}, "frame_offsets_ms: got 'a', wanted a number"),
        (["a"], {"clock_us": 0}, "clock_us: got 0, wanted a function"),
    ],
)
def test_limits_that_make_no_sense(cameras, limits, message):
    with pytest.raises(InvalidRequestError, match=message):
        SceneBuffer(cameras, **limits)
