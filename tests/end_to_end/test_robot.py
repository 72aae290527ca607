"""What a robot has, frames and poses as they come, and what it follows: against a real server."""

import asyncio
import re
import time

import numpy as np
import pytest
from alpamayo_client import (
    AsyncAlpamayoClient,
    InvalidRequestError,
    NoSceneError,
    PlanningLoop,
    SceneBuffer,
    TimedOutError,
    planning_thread,
)
from alpamayo_client.robot.poses import slerp, to_matrices, to_quaternions

from .conftest import LONG_THOUGHTS, SMALL
from .golden_case import golden_case
from .live_server import until
from .wire import picture, registered, shared

CASE = golden_case("greedy")
T0_US = 1_700_000_000_000_000
CAMERAS = ("cross_left", "front_wide", "cross_right", "front_tele")
# Turned about a skew axis, and as far from the world's origin as UTM has it.
WORLD = np.eye(4)
WORLD[:3, :3] = to_matrices(np.array([0.1, -0.5, 0.7, 0.5]))
WORLD[:3, 3] = 1e6, -5.4e6, 300


def push_golden_poses(buffer, as_matrix):
    """At 30 Hz, in the world: the golden ones, and two on the straight way between each two of them."""
    xyz = CASE["ego_history_xyz"][0, 0].astype(np.float64)
    quaternions = to_quaternions(CASE["ego_history_rot"][0, 0].astype(np.float64))
    for i in range(16):
        for third in range(3 if i < 15 else 1):
            after, share = min(i + 1, 15), third / 3
            here = WORLD[:3, :3] @ (xyz[i] + share * (xyz[after] - xyz[i])) + WORLD[:3, 3]
            turned = slerp(quaternions[i, None], quaternions[after, None], np.array([[share]]))
            rotation = WORLD[:3, :3] @ to_matrices(turned)[0]
            time_us = T0_US + (i - 15) * 100_000 + round(third * 100_000 / 3)
            buffer.push_pose(time_us, here, rotation if as_matrix else to_quaternions(rotation))


@pytest.mark.parametrize("encoded", [True, False])
def test_frames_and_poses_as_they_come_give_the_reference_s_trajectory(client, encoded):
    """Cameras at 20 Hz, a few milliseconds off; every other frame is of no use here and would give another answer."""
    buffer = SceneBuffer(CAMERAS)
    push_golden_poses(buffer, as_matrix=encoded)
    for i, camera in enumerate(CAMERAS):
        for j, frame in enumerate(CASE["frames"][i]):
            time_us = T0_US + (j - 3) * 100_000 + (i - 1) * 3000
            for image, at_us in ((frame, time_us), (255 - frame, time_us + 50_000)):
                buffer.push_frame(camera, at_us, picture(image) if encoded else image)
    prediction = client.predict(buffer.scene(T0_US), **CASE.parameters, noise=CASE["noise"])
    np.testing.assert_allclose(prediction.pred_xyz, CASE["pred_xyz"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(prediction.pred_rot, CASE["pred_rot"], atol=1e-3, rtol=0)
    np.testing.assert_array_equal(prediction.cot, CASE.meta["cot"])
    assert prediction.timestamps_us[[0, -1]].tolist() == [T0_US + 100_000, T0_US + 6_400_000]
    xyz, rot = prediction.to_world()
    in_world = CASE["pred_xyz"].astype(np.float64) @ WORLD[:3, :3].T + WORLD[:3, 3]
    np.testing.assert_allclose(xyz, in_world, atol=1e-3, rtol=0)
    np.testing.assert_allclose(rot, WORLD[:3, :3] @ CASE["pred_rot"], atol=1e-3, rtol=0)


class Drive:
    """Straight on at 9 m/s by this machine's clock; one camera, whose frames are as the test says."""

    def __init__(self):
        frame = np.random.default_rng(0).integers(0, 256, (3, 64, 96), dtype=np.uint8)
        self.good = self.frame = picture(frame)
        self.filming = True
        self._buffer = SceneBuffer(["front_wide"])
        self._start_us = self._next_us = self.now_us() // 100_000 * 100_000 - 2_000_000

    @staticmethod
    def now_us():
        return time.time_ns() // 1000

    def where(self, time_us):
        return np.array([1e6 + 9 * (time_us - self._start_us) / 1e6, 5e6, 300])

    def observe(self):
        """What came since the last time, and the newest scene."""
        while self._next_us <= self.now_us():
            self._buffer.push_pose(self._next_us, self.where(self._next_us), (0, 0, 0, 1))
            if self.filming:
                self._buffer.push_frame("front_wide", self._next_us, self.frame)
            self._next_us += 100_000
        return self._buffer.scene()


def test_a_loop_holds_its_rate_and_its_newest_trajectory_can_be_followed(server, runs):
    drive, before = Drive(), runs("alpamayo_reasoner")

    async def follow():
        async with AsyncAlpamayoClient(server.grpc) as client:
            start_s = time.monotonic()
            async with PlanningLoop(
                client, drive.observe, rate_hz=4, budget_s=60, max_age_s=60, choose=lambda it: (0, 1), **SMALL
            ) as loop:
                while loop.counts.answered < 6:
                    assert time.monotonic() < start_s + 180, loop.counts
                    await asyncio.sleep(0.02)
                assert loop.counts.ticks <= (time.monotonic() - start_s) * 4 + 1
                seconds = time.monotonic() - start_s
                await asyncio.sleep(0.05)  # what was due may run, if this loop was held up
                assert loop.counts.ticks >= seconds * 4 - 2
                plan = loop.prediction
                waypoint = loop.trajectory_at(int(plan.timestamps_us[9]))
                assert 0 < waypoint.age_s < 60
                np.testing.assert_allclose(waypoint.xyz, plan.to_world()[0][0, 0, 1, 9], rtol=0, atol=1e-6)
                start = loop.trajectory_at(plan.t0_us)
                np.testing.assert_allclose(start.xyz, drive.where(plan.t0_us), rtol=0, atol=1e-6)
            return loop.counts

    counts = asyncio.run(follow())
    assert (counts.refused, counts.failed, counts.timed_out) == (0, 0, 0)
    assert counts.asked - counts.cancelled == counts.answered
    until(lambda: runs("alpamayo_reasoner") - before >= counts.answered, "the log")
    assert runs("alpamayo_reasoner") - before <= counts.asked


def test_raw_frames_in_a_thread_through_shared_memory(server, triton):
    drive = Drive()
    drive.frame = np.random.default_rng(0).integers(0, 256, (3, 64, 96), dtype=np.uint8)
    options = {"rate_hz": 20, "budget_s": 60, "max_age_s": 60, **SMALL}
    with planning_thread(server.grpc, drive.observe, shared_memory="system", **options) as loop:
        until(lambda: loop.counts.answered >= 2, "answers")
        (region,) = registered(triton)
        assert region in shared()
        assert loop.trajectory_at(drive.now_us() + 500_000).xyz.shape == (3,)
    assert region not in shared()
    assert loop.counts.failed == 0
    until(lambda: not registered(triton), "the server to forget the region")


def test_a_late_request_is_cancelled_and_the_server_stops(server, client, assert_still_serving):
    """Nobody would answer within the budget: the server works on one request at a time, and always the newest."""

    def stopped():
        return len(re.findall("stopped working: the request.*cancelled by its caller", server.log.read_text()))

    before, drive = stopped(), Drive()
    with planning_thread(server.grpc, drive.observe, rate_hz=10, budget_s=1, max_age_s=60, **LONG_THOUGHTS) as loop:
        until(lambda: loop.counts.cancelled >= 2, "requests to be cancelled")
        assert loop.counts.dropped > 0
    assert loop.counts.asked == loop.counts.cancelled + loop.counts.answered
    until(lambda: stopped() - before >= 2, "the server to stop working on them")
    assert_still_serving()


def test_an_observation_that_is_too_old_is_given_up(server, assert_still_serving):
    with planning_thread(server.grpc, Drive().observe, rate_hz=10, budget_s=60, max_age_s=0.5, **LONG_THOUGHTS) as loop:
        until(lambda: loop.counts.timed_out >= 2, "requests to time out")
        assert isinstance(loop.last_error, (TimedOutError, NoSceneError))
    assert_still_serving()


def test_a_loop_survives_scenes_that_are_refused_by_the_buffer_and_by_the_server(server):
    drive = Drive()
    drive.filming = False
    with planning_thread(server.grpc, drive.observe, rate_hz=20, budget_s=60, max_age_s=60, **SMALL) as loop:
        until(lambda: loop.counts.refused >= 3, "the buffer to refuse")
        assert "camera 'front_wide': no frames" in str(loop.last_error)
        assert loop.counts.asked == 0
        drive.filming, drive.frame = True, drive.good[: len(drive.good) // 2]
        until(lambda: loop.counts.failed >= 2, "the server to refuse")
        assert isinstance(loop.last_error, InvalidRequestError)
        assert "JPEG or PNG" in str(loop.last_error)
        drive.frame = drive.good
        until(lambda: loop.counts.answered >= 2, "answers")
        assert loop.trajectory_at(drive.now_us() + 500_000).xyz.shape == (3,)
