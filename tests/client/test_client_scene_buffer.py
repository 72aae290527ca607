"""What a SceneBuffer chooses, and what it keeps."""

import itertools
import math
import threading

import numpy as np
import pytest
from alpamayo_client import NoSceneError, SceneBuffer
from alpamayo_client.cameras import CAMERAS, REFERENCE_CAMERAS
from alpamayo_client.robot.poses import to_matrices
from alpamayo_client.robot.selection import nearest_distinct
from alpamayo_client.robot.timeline import Timeline
from filled_buffer import (
    MS,
    START,
    T0_US,
    TURN_RADPS,
    VELOCITY_MPS,
    file,
    filmed,
    full,
    push_frames,
    push_poses,
    refusal,
    yaw,
)


def test_the_newest_scene():
    scene = full().scene()
    assert scene.t0_us == T0_US
    assert type(scene.t0_us) is int
    assert scene.camera_names == ["left", "right"]
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
    assert buffer.scene().camera_names == ["camera 0", "camera 2", "camera 6"]
    assert frames[:, :, 0, 0, 0].tolist() == [[3, 2, 1, 0], [23, 22, 21, 20], [63, 62, 61, 60]]


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
