"""What the loop does at which time, in virtual time. With a real server: end_to_end/test_robot.py."""

import asyncio
import dataclasses
import time

import numpy as np
import pytest
from alpamayo_client import (
    AlpamayoClient,
    InvalidRequestError,
    NoPlanError,
    NoSceneError,
    PlanningLoop,
    Scene,
    TimedOutError,
    UnavailableError,
    planning_thread,
)
from alpamayo_client.prediction import parse_response
from little_triton import SPEED_MPS, LittleTriton, answer, response_message
from tritonclient.grpc import InferResult
from virtual_time import run

PERIOD = {"rate_hz": 10, "budget_s": 1, "max_age_s": 2}
FOREVER_S = 1e6


def now_s():
    return round(asyncio.get_running_loop().time() - 1000, 6)


def now_us():
    return round(now_s() * 1e6)


class Slow:
    """Answers one request after so many seconds of virtual time; the last of the latencies is that of all others."""

    def __init__(self, *latencies_s):
        self._latencies_s = list(latencies_s)
        self.asked = []  # (when, t0, timeout), in seconds
        self.cancelled_s = []
        self.parameters = {}
        self.errors = []
        self.ends_after_s = 0.0  # when it is cancelled
        self._under_way = 0

    async def predict(self, scene, *, timeout_s, **parameters):
        self.asked.append((now_s(), scene.t0_us / 1e6, round(timeout_s, 6)))
        self.parameters = parameters
        self._under_way += 1
        assert self._under_way == 1, "never two at once"
        latency_s = self._latencies_s.pop(0) if len(self._latencies_s) > 1 else self._latencies_s[0]
        try:
            await asyncio.sleep(min(latency_s, timeout_s))
        except asyncio.CancelledError:
            self.cancelled_s.append(now_s())
            await asyncio.sleep(self.ends_after_s)
            raise
        finally:
            self._under_way -= 1
        if self.errors:
            raise self.errors.pop(0)
        if latency_s >= timeout_s:
            raise TimedOutError("too slow")
        return parse_response(InferResult(response_message(answer(sets=2))), scene)


@pytest.fixture
def camera(encoded, history):
    """The scene at the newest of frames that come so often."""

    def filming(period_us=1000):
        def observe():
            return Scene(encoded, *history, t0_us=now_us() // period_us * period_us, ego_to_world=np.eye(4))

        return observe

    return filming


def looped(client, observe, seconds, **options):
    """The loop when it is over, and its counts just before that, after so many seconds: they must add up."""

    async def until_then():
        async with PlanningLoop(client, observe, clock_us=now_us, **(PERIOD | options)) as loop:
            await asyncio.sleep(seconds)
            counts = loop.counts
        balanced(counts)
        return loop, counts

    return run(until_then())


def balanced(counts):
    ticks = counts.asked + counts.refused + counts.unchanged + counts.dropped
    ends = counts.answered + counts.cancelled + counts.timed_out + counts.failed + counts.unchosen
    assert counts.ticks - ticks in (0, 1), counts
    assert counts.asked - ends in (0, 1), counts
    assert counts.late <= counts.answered


def differs(counts, **wanted):
    """All others are zero."""
    assert {name: n for name, n in dataclasses.asdict(counts).items() if n} == wanted


@pytest.mark.parametrize("client", [None, AlpamayoClient("localhost:8001")])
def test_a_client_that_cannot_be_awaited(client, camera):
    with pytest.raises(InvalidRequestError, match=r"client: got .*, wanted an AsyncAlpamayoClient"):
        PlanningLoop(client, camera(), rate_hz=1, budget_s=1, max_age_s=1)


def test_quick_answers_hold_the_rate(camera):
    client = Slow(0.03)
    _, counts = looped(client, camera(), 2.05)
    assert client.asked == [(it / 10, it / 10, 2.0) for it in range(21)]
    differs(counts, ticks=21, asked=21, answered=21)


def test_slow_answers_come_back_to_back_and_nothing_queues(camera):
    """One every 0.23 s, each about the newest scene, though the ticks are more than twice as many; one waits now."""
    client = Slow(0.23)
    _, counts = looped(client, camera(), 2.05)
    assert client.asked == [(round(it * 0.23, 6), round(it * 0.23, 6), 2.0) for it in range(9)]
    differs(counts, ticks=21, asked=9, answered=8, dropped=11)


def test_a_late_request_is_cancelled_for_a_newer_scene(camera):
    client = Slow(FOREVER_S, 0.03)
    _, counts = looped(client, camera(), 0.64, budget_s=0.35)
    assert client.cancelled_s == [0.35]
    assert [when for when, _, _ in client.asked] == [0.0, 0.35, 0.4, 0.5, 0.6]
    assert [t0 for _, t0, _ in client.asked] == [0.0, 0.35, 0.4, 0.5, 0.6]
    differs(counts, ticks=7, asked=5, answered=4, cancelled=1, dropped=2)


def test_the_newest_scene_is_asked_about_after_a_server_that_is_slow_to_stop(camera):
    client = Slow(FOREVER_S, 0.03)
    client.ends_after_s = 0.2
    _, counts = looped(client, camera(), 0.64, budget_s=0.35)
    assert client.cancelled_s == [0.35]
    assert client.asked[1] == (0.55, 0.55, 2.0)
    differs(counts, ticks=7, asked=4, answered=2, cancelled=1, dropped=3)


def test_a_budget_below_the_latency_gives_no_answers_and_shows(camera):
    loop, counts = looped(Slow(0.25), camera(), 1.0, budget_s=0.2)
    assert counts.answered == 0
    assert counts.cancelled == 4
    assert loop.prediction is None


def test_a_late_answer_is_welcome_when_there_is_nothing_newer(camera):
    """One frame a second; the tick at 0.4 s finds nothing new, and the request goes on."""
    client = Slow(0.55)
    loop, counts = looped(client, camera(1_000_000), 0.95, budget_s=0.35)
    assert client.cancelled_s == []
    assert loop.prediction.t0_us == 0
    differs(counts, ticks=10, asked=1, answered=1, late=1, dropped=2, unchanged=7)


def test_a_request_is_given_up_when_its_observation_is_too_old(camera):
    """The scene is 0.4 s old already when it is asked about."""
    newest = camera()

    def behind():
        scene = newest()
        return dataclasses.replace(scene, t0_us=scene.t0_us - 400_000)

    client = Slow(FOREVER_S)
    loop, counts = looped(client, behind, 1.55, budget_s=10, max_age_s=1)
    assert client.asked == [(0.0, -0.4, 0.6), (0.6, 0.2, 0.6), (1.2, 0.8, 0.6)]
    assert isinstance(loop.last_error, TimedOutError)
    differs(counts, ticks=16, asked=3, timed_out=2, dropped=12)


def test_no_scene_is_counted_and_asked_for_again(camera):
    client, newest = Slow(0.03), camera()

    def from_300_ms():
        if now_s() < 0.3:
            raise NoSceneError("no frames")
        return newest()

    loop, counts = looped(client, from_300_ms, 0.55)
    assert [when for when, _, _ in client.asked] == [0.3, 0.4, 0.5]
    assert str(loop.last_error) == "no frames"
    differs(counts, ticks=6, refused=3, asked=3, answered=3)


def test_a_request_under_way_outlives_a_missing_scene(camera):
    client, newest = Slow(0.5), camera()

    def once():
        if now_s() > 0:
            raise NoSceneError("no frames")
        return newest()

    loop, counts = looped(client, once, 0.55, budget_s=0.15)
    assert loop.prediction.t0_us == 0
    assert (counts.cancelled, counts.answered, counts.late) == (0, 1, 1)


@pytest.mark.parametrize("clock_off_s", [10, -10])
def test_scenes_that_are_too_old_or_of_another_clock(camera, clock_off_s):
    newest = camera()

    def other_clock():
        scene = newest()
        return dataclasses.replace(scene, t0_us=scene.t0_us - clock_off_s * 1_000_000)

    loop, counts = looped(Slow(0.03), other_clock, 0.05)
    differs(counts, ticks=1, refused=1)
    assert f"is {clock_off_s}.000 s old, wanted less than 2 s: the cameras or the poses stopped, or" in str(
        loop.last_error
    )


def test_errors_are_counted_and_the_same_scene_is_asked_about_again(camera):
    client = Slow(0.03)
    client.errors = [UnavailableError("gone"), ZeroDivisionError("a bug")]
    loop, counts = looped(client, camera(1_000_000), 0.45)
    assert repr(loop.last_error) == "ZeroDivisionError('a bug')"
    differs(counts, ticks=5, asked=3, failed=2, answered=1, unchanged=2)


def test_ticks_that_were_missed_are_not_made_up_for(camera):
    client = Slow(0.03)

    async def held_up():
        async with PlanningLoop(client, camera(), clock_us=now_us, **PERIOD) as loop:
            await asyncio.sleep(0.15)
            asyncio.get_running_loop().hold_up(0.6)
            await asyncio.sleep(0.2)
            return loop.counts

    differs(run(held_up()), ticks=10, asked=5, answered=5, dropped=5)
    assert [when for when, _, _ in client.asked] == [0.0, 0.1, 0.75, 0.8, 0.9]


def test_the_end_cancels_what_is_under_way(camera):
    client = Slow(FOREVER_S)
    loop, counts = looped(client, camera(), 0.05)
    assert client.cancelled_s == [0.05]
    differs(counts, ticks=1, asked=1)
    differs(loop.counts, ticks=1, asked=1, cancelled=1)


def test_the_newest_trajectory_at_any_time_and_its_age(camera):
    async def follow():
        async with PlanningLoop(
            Slow(0.03), camera(), clock_us=now_us, choose=lambda it: (1, 0), rate_hz=1, budget_s=1, max_age_s=0.5
        ) as loop:
            with pytest.raises(NoPlanError, match=r"no trajectory yet: PlanningCounts\(ticks=0"):
                loop.trajectory_at(now_us())
            await asyncio.sleep(0.2)
            waypoint = loop.trajectory_at(now_us() + 1_000_000)
            np.testing.assert_allclose(waypoint.xyz, [1.2 * SPEED_MPS, 1, 0], atol=1e-5)  # set 1: a metre to the left
            assert (waypoint.time_us, waypoint.age_s) == (1_200_000, 0.2)
            with pytest.raises(NoPlanError, match=r"newest goes from t0_us=0 to 6400000, and that is 6.500 s after t0"):
                loop.trajectory_at(6_500_000)
            with pytest.raises(InvalidRequestError, match=r"time_us: got 0.2, wanted an integer"):
                loop.trajectory_at(0.2)
            await asyncio.sleep(0.31)
            with pytest.raises(NoPlanError, match=r"observation is 0.510 s old, wanted at most 0.5 s: .*answered=1"):
                loop.trajectory_at(now_us())
            await asyncio.sleep(0.6)
            assert loop.trajectory_at(now_us()).age_s == pytest.approx(0.11)

    run(follow())


def test_parameters_go_to_predict(camera):
    client, parameters = (
        Slow(0.03),
        {"num_traj_samples": 6, "seed": 3, "reasoning": ["Stop."], "priority": 1, "top_k": None},
    )
    looped(client, camera(), 0.05, **parameters)
    assert client.parameters == parameters


@pytest.mark.parametrize(
    ("choose", "error"),
    [(lambda it: 1 / 0, ZeroDivisionError), (lambda it: (0, 9), IndexError), (lambda it: 0, TypeError)],
)
def test_what_cannot_be_chosen_is_no_fault_of_the_server(camera, choose, error):
    loop, counts = looped(Slow(0.03), camera(1_000_000), 0.25, choose=choose)
    differs(counts, ticks=3, asked=3, unchosen=3)
    assert type(loop.last_error) is error


def test_who_finds_no_trajectory_is_told_the_last_error(camera):
    async def follow():
        async with PlanningLoop(Slow(0.03), camera(), clock_us=now_us, choose=lambda it: 1 / 0, **PERIOD) as loop:
            await asyncio.sleep(0.05)
            with pytest.raises(NoPlanError, match=r"unchosen=1.*; last error: ZeroDivisionError"):
                loop.trajectory_at(now_us())

    run(follow())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 0}, "rate_hz: got 0, wanted a finite number above zero"),
        ({"budget_s": float("inf")}, "budget_s: got inf"),
        ({"max_age_s": "1"}, "max_age_s: got '1', wanted a number"),
        ({"timeout_s": 1}, "timeout_s: follows from max_age_s"),
        (
            {"num_traj_sample": 6},
            "got num_traj_sample, which `predict` does not know, wanted some of num_traj_samples, ",
        ),
        ({"num_traj_samples": "six"}, "num_traj_samples: got 'six', wanted an integer"),
        ({"temperature": "hot"}, "temperature: got 'hot', wanted a number"),
        ({"priority": 4}, "priority: got 4"),
        ({"reasoning": "Stop."}, "reasoning: got str, wanted a list"),
        ({"reasoning": ["a", "b"], "num_traj_samples": 1}, "reasoning: got 2 thoughts and num_traj_samples=1"),
        ({"noise": np.zeros((1, 64, 2)), "num_traj_sets": 2}, r"noise: got .* of shape \(1, 64, 2\), wanted .*\(2, 64"),
        ({"choose": (0, 0)}, r"choose: got \(0, 0\), wanted a function"),
        ({"observe": None}, "observe: got None, wanted a function"),
        ({"clock_us": 0}, "clock_us: got 0, wanted a function"),
        ({"headers": {"a b": "c"}}, "headers: got 'a b'"),
        ({"shared_memory": "cud"}, "shared_memory: got 'cud'"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with (
        pytest.raises(InvalidRequestError, match=message),
        planning_thread("127.0.0.1:1", **(PERIOD | {"observe": NoSceneError} | options)),  # here, not in its thread
    ):
        pass


@pytest.mark.parametrize("unknown", ["t0_us", "ego_to_world"])
def test_a_scene_without_time_or_place_is_refused(camera, unknown):
    loop, counts = looped(Slow(0.03), lambda: dataclasses.replace(camera()(), **{unknown: None}), 0.05)
    differs(counts, ticks=1, refused=1)
    assert "without t0_us or ego_to_world, wanted one that knows both" in str(loop.last_error)


def eventually(condition):
    """Polls from outside the loop's thread."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_thread_plans_while_the_server_comes_and_goes(encoded, history):
    def observe():
        return Scene(encoded, *history, t0_us=time.time_ns() // 1000, ego_to_world=np.eye(4))

    server = LittleTriton()
    headers = {"robot": "7"}
    with planning_thread(server.url, observe, headers=headers, rate_hz=100, budget_s=1, max_age_s=2) as loop:
        assert eventually(lambda: loop.counts.answered > 2)
        assert loop.trajectory_at(time.time_ns() // 1000).speed_mps == pytest.approx(SPEED_MPS, abs=1e-3)
        server.stop()
        failed = loop.counts.failed
        assert eventually(lambda: loop.counts.failed > failed + 2)
        assert isinstance(loop.last_error, UnavailableError)
        server = LittleTriton(server.url)
        answered = loop.counts.answered
        assert eventually(lambda: loop.counts.answered > answered + 2)
        balanced(loop.counts)
    asked = loop.counts.asked
    assert len(server.requests) <= asked
    assert {sent.get("robot") for call, sent in server.headers if call == "ModelInfer"} == {"7"}
    server.stop()
