import itertools
import math
import threading

import numpy as np
import pytest
import torch
from alpamayo_client import InvalidRequestError, NoSceneError, SceneBuffer
from alpamayo_client.cameras import CAMERAS, REFERENCE_CAMERAS
from alpamayo_client.robot.poses import to_matrices
from alpamayo_client.robot.selection import nearest_distinct
from alpamayo_client.robot.timeline import Timeline

T0_US = 1_700_000_000_000_000
START = np.array([500_000.0, 5_400_000.0, 300.0])  # as UTM has it
VELOCITY_MPS = np.array([6.0, 8.0, 0.5])
TURN_RADPS = 0.4
MS = 1000


def file(text):
    """What passes for a JPEG file before it is opened."""
    return b"\xff\xd8\xff" + text.encode()


def yaw(angle):
    return np.array([0, 0, math.sin(angle / 2), math.cos(angle / 2)])


def push_poses(buffer, times_ms):
    """Straight on through the world while the ego frame turns: linear and slerp are exact."""
    for ms in times_ms:
        seconds = ms / 1000
        buffer.push_pose(T0_US + round(ms * MS), START + VELOCITY_MPS * seconds, yaw(1 + TURN_RADPS * seconds))


def push_frames(buffer, camera, times_ms):
    for ms in times_ms:
        buffer.push_frame(camera, T0_US + round(ms * MS), file(f"{camera} {ms}"))


def filmed(cameras=("left", "right"), **limits):
    """A buffer that lacks only poses."""
    buffer = SceneBuffer(cameras, **limits)
    for camera in cameras:
        push_frames(buffer, camera, range(-400, 1, 100))
    return buffer


def full(cameras=("left", "right"), **limits):
    buffer = filmed(cameras, **limits)
    push_poses(buffer, range(-1600, 1, 40))
    return buffer


def refusal(buffer, t0_us=None):
    with pytest.raises(NoSceneError) as error:
        buffer.scene(t0_us)
    return str(error.value)


def test_the_newest_scene():
    scene = full().scene()
    assert scene.t0_us == T0_US
    assert type(scene.t0_us) is int
    assert scene.image_frames == [[file(f"{c} {ms}") for ms in (-300, -200, -100, 0)] for c in ("left", "right")]


def test_the_history_is_in_the_ego_frame_at_t0():
    scene = full().scene(T0_US - 10 * MS)  # between two poses
    seconds = np.arange(-15, 1) * 0.1
    cos, sin = math.cos(1 - TURN_RADPS * 0.01), math.sin(1 - TURN_RADPS * 0.01)
    to_ego = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    np.testing.assert_allclose(scene.ego_history_xyz, seconds[:, None] * (to_ego @ VELOCITY_MPS), rtol=0, atol=1e-8)
    turned = to_matrices(np.array([yaw(TURN_RADPS * s) for s in seconds]))
    np.testing.assert_allclose(scene.ego_history_rot, turned, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scene.ego_to_world[:3, :3], to_ego.T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scene.ego_to_world[:3, 3], START - 0.01 * VELOCITY_MPS, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(scene.ego_to_world[3], [0, 0, 0, 1])


@pytest.mark.parametrize("seed", range(20))
def test_moving_the_world_moves_only_ego_to_world(seed):
    """The same drive, seen from another origin and direction: the same scene."""
    random = np.random.default_rng(seed)
    turn, move = random_rotation(random), random.uniform(-1e6, 1e6, 3)
    here, there = filmed(pose_gap_ms=1700), filmed(pose_gap_ms=1700)
    for time_us in [T0_US - 1_700_000, *(T0_US - random.integers(0, 1_700_000, 60)), T0_US]:
        xyz, rotation = random.normal(size=3) * 10, random_rotation(random)
        here.push_pose(time_us, xyz, rotation)
        there.push_pose(time_us, turn @ xyz + move, turn @ rotation)
    one, other = here.scene(), there.scene()
    np.testing.assert_allclose(other.ego_history_xyz, one.ego_history_xyz, rtol=0, atol=1e-7)
    np.testing.assert_allclose(other.ego_history_rot, one.ego_history_rot, rtol=0, atol=1e-7)
    np.testing.assert_allclose(other.ego_to_world[:3, 3], turn @ one.ego_to_world[:3, 3] + move, rtol=0, atol=1e-7)


def random_rotation(random):
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    return turn * np.linalg.det(turn)


def test_the_order_of_arrival_does_not_matter():
    buffer, random = SceneBuffer(["left"]), np.random.default_rng(0)
    push_frames(buffer, "left", random.permutation(range(-400, 1, 100)).tolist())
    push_poses(buffer, random.permutation(range(-1600, 1, 40)).tolist())
    got, wanted = buffer.scene(), full(["left"]).scene()
    assert got.image_frames == wanted.image_frames
    np.testing.assert_array_equal(got.ego_history_xyz, wanted.ego_history_xyz)


def test_the_same_time_again_replaces():
    buffer = full()
    buffer.push_frame("left", T0_US, file("better"))
    buffer.push_pose(T0_US, START + 7, yaw(0))
    scene = buffer.scene()
    assert scene.image_frames[0] == [file("left -300"), file("left -200"), file("left -100"), file("better")]
    np.testing.assert_array_equal(scene.ego_to_world[:3, 3], START + 7)


def test_each_camera_at_its_own_rate_and_phase():
    buffer = SceneBuffer(["fast", "slow"])
    push_frames(buffer, "fast", range(-507, 30, 33))
    push_frames(buffer, "slow", range(-412, 1, 100))
    push_poses(buffer, range(-1600, 51, 10))
    scene = buffer.scene()
    assert scene.t0_us == T0_US - 12 * MS  # the newest of "slow", which is behind
    assert scene.image_frames[1] == [file("slow -312"), file("slow -212"), file("slow -112"), file("slow -12")]
    assert scene.image_frames[0] == [file("fast -309"), file("fast -210"), file("fast -111"), file("fast -12")]
    assert scene.frame_offsets_ms.tolist() == [[-297, -198, -99, 0], [-300, -200, -100, 0]]


def brute_force(times, wanted, tolerance):
    """Least sum of distances; of equals the older frames, the newest decided first."""
    choices = [
        (sum(abs(times[i] - w) for i, w in zip(picked, wanted, strict=True)), picked[::-1])
        for picked in itertools.combinations(range(len(times)), len(wanted))
        if all(abs(times[i] - w) <= tolerance for i, w in zip(picked, wanted, strict=True))
    ]
    return list(min(choices)[1][::-1]) if choices else None


@pytest.mark.parametrize("seed", range(200))
def test_frames_are_the_nearest_that_are_distinct(seed):
    random = np.random.default_rng(seed)
    times = np.unique(random.integers(-45, 5, random.integers(1, 12)) * 10)
    wanted, tolerance = np.array([-300, -200, -100, 0]), int(random.integers(0, 200))
    assert nearest_distinct(times, wanted, tolerance) == brute_force(times, wanted, tolerance)


def test_pixels_are_copied_and_stacked():
    buffer = SceneBuffer([0, 2, 6])
    push_poses(buffer, range(-1600, 1, 40))
    image = np.zeros((3, 32, 48), np.uint8)
    for camera, ms in itertools.product((0, 2, 6), range(-300, 1, 100)):
        image[:] = camera * 10 - ms // 100
        buffer.push_frame(camera, T0_US + ms * MS, image)
    frames = buffer.scene().image_frames
    assert frames.shape == (3, 4, 3, 32, 48)
    assert frames[:, :, 0, 0, 0].tolist() == [[3, 2, 1, 0], [23, 22, 21, 20], [63, 62, 61, 60]]


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


def test_frames_at_other_times_than_the_released_model_s():
    buffer = SceneBuffer(["left"], frame_offsets_ms=(-500, 0), frames_per_camera=1000, max_lag_ms=0)
    push_poses(buffer, range(-1600, 1, 40))
    push_frames(buffer, "left", range(-550, -100, 10))
    assert refusal(buffer, T0_US).endswith(
        "camera 'left': 45 frames from t0-550.0 to t0-110.0 ms, wanted 2 within 50.0 ms of t0-500, t0+0 ms: misses "
        "t0+0 ms by 110.0 ms"
    )
    push_frames(buffer, "left", [0])  # -550 is still kept: 500 and the tolerance before
    assert buffer.scene().image_frames == [[file("left -500"), file("left 0")]]
    assert len(buffer._frames["left"].values) == 46


def test_the_model_s_own_names_and_anyone_s_own():
    assert SceneBuffer(REFERENCE_CAMERAS).cameras == REFERENCE_CAMERAS
    assert SceneBuffer(["tele", CAMERAS[1], "front", CAMERAS[6]]).cameras == ("tele", CAMERAS[1], "front", CAMERAS[6])
    assert SceneBuffer(np.array([0, 6])).cameras == (0, 6)


def test_memory_is_bounded():
    buffer = SceneBuffer(["left", "right"], frames_per_camera=20)
    push_frames(buffer, "left", range(0, 100_000, 100))
    push_frames(buffer, "right", range(0, 1_000))
    push_poses(buffer, range(0, 100_000, 10))
    push_poses(buffer, [100_000 + i / 10 for i in range(11_000)])
    kept = {timeline.name: len(timeline.values) for timeline in [*buffer._frames.values(), buffer._poses]}
    assert kept == {"frame of camera 'left'": 9, "frame of camera 'right'": 20, "pose": 10_000}
    assert buffer._frames["right"].values[-1] == file("right 999")


def test_a_snapshot_does_not_change():
    """A scene is put together while others push."""
    timeline = Timeline("frame", keep_us=1000, most=3)
    timeline.put(2, "b")
    times_us, values = timeline.snapshot()
    timeline.put(1, "a")
    assert (times_us.tolist(), values) == ([2], ["b"])
    assert timeline.snapshot()[1] == ["a", "b"]


def test_many_threads_push_while_one_asks():
    cameras = ("a", "b", "c")
    buffer = SceneBuffer(cameras, max_lag_ms=60_000, frames_per_camera=1000)
    push_poses(buffer, range(-2000, 0, 10))
    pushes = [threading.Thread(target=push_frames, args=(buffer, it, range(-2000, 10_001, 100))) for it in cameras]
    pushes.append(threading.Thread(target=push_poses, args=(buffer, range(0, 10_001, 10))))
    for thread in pushes:
        thread.start()
    asked = 0
    while any(thread.is_alive() for thread in pushes):
        try:
            scene = buffer.scene()
        except NoSceneError:  # not yet
            continue
        asked += 1
        ms = [(scene.t0_us - T0_US) // MS + offset for offset in (-300, -200, -100, 0)]
        if ms[-1] % 100 == 0:
            assert scene.image_frames == [[file(f"{camera} {it}") for it in ms] for camera in cameras]
    assert asked > 0
    assert buffer.scene().t0_us == T0_US + 10_000 * MS


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
        (["a"], {"frame_offsets_ms": ("a", 0)}, "frame_offsets_ms: got 'a', wanted a number"),
        (["a"], {"clock_us": 0}, "clock_us: got 0, wanted a function"),
    ],
)
def test_limits_that_make_no_sense(cameras, limits, message):
    with pytest.raises(InvalidRequestError, match=message):
        SceneBuffer(cameras, **limits)
