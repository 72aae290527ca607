"""Asks again and again, at a fixed rate, and has the newest trajectory at hand."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..aio import AsyncAlpamayoClient
from ..checks import check_float, check_function, check_int
from ..client import AlpamayoClient
from ..errors import InvalidRequestError, NoPlanError, NoSceneError, TimedOutError
from ..prediction import Prediction
from ..request import check_options
from ..scene import Scene
from .plan import Plan, Waypoint
from .planning_counts import PlanningCounts


class PlanningLoop:
    """Asks about the newest scene `rate_hz` times a second; `async with` runs it. Never more than one request at once.

    What happens at a tick:
    - Nothing is under way: the newest scene is asked about.
    - A request is under way, for less than `budget_s`: the tick waits. When the answer comes, the scene that is the
      newest then is asked about at once. Another tick meanwhile takes its place (`dropped`): nothing queues.
    - A request is under way for longer than that: if there is a newer scene, the request is cancelled, which stops the
      server within a token, and the newer one is asked about. If there is none, the request goes on.
    So answers come as often as the server can, at most `rate_hz`. `budget_s` below what an answer usually takes means
    no answers at all: `counts.cancelled` grows.

    A request is given up when its observation is `max_age_s` old, on the server too. Whatever goes wrong, the loop goes
    on: errors are counted, the newest is `last_error`. What reads (`trajectory_at`, `counts`, `prediction`,
    `last_error`) may be used from any thread.
    """

    def __init__(
        self,
        client: AsyncAlpamayoClient,
        observe: Callable[[], Scene],
        *,
        rate_hz: float,
        budget_s: float,
        max_age_s: float,
        choose: Callable[[Prediction], tuple[int, int]] = Prediction.medoid,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        **parameters: Any,
    ) -> None:
        """Raises InvalidRequestError.

        observe: gives the newest scene, which knows `t0_us` and `ego_to_world`, or raises NoSceneError:
            `SceneBuffer.scene`. A SceneBuffer's frames are in host memory; of a scene of your own they may be on the
            GPU, if the client has shared_memory="cuda".
        budget_s: how long an answer is waited for when there is something newer to ask about.
        max_age_s: how old, counted from its t0, an observation may be for its trajectory to be followed.
        choose: which (set, sample) of an answer is followed; without it the medoid, which outvotes a bad one. If it
            raises, the answer counts as `unchosen`.
        clock_us: what time it is by the clock of the scenes' t0_us. Without it: microseconds since 1970.
        parameters: of `predict`, such as `num_traj_samples`; `timeout_s` follows from `max_age_s`.
        """
        if isinstance(client, AlpamayoClient) or not hasattr(client, "predict"):
            raise InvalidRequestError(f"client: got {type(client).__name__}, wanted an AsyncAlpamayoClient")
        self._client = client
        self._observe = check_function("observe", observe)
        self._period_s = 1 / _check_positive("rate_hz", rate_hz)
        self._budget_s = _check_positive("budget_s", budget_s)
        self._max_age_s = _check_positive("max_age_s", max_age_s)
        if "timeout_s" in parameters:
            raise InvalidRequestError("timeout_s: follows from max_age_s and the scene's t0_us: leave it out")
        check_options(**parameters)
        self._choose = check_function("choose", choose)
        self._clock_us = check_function("clock_us", clock_us)
        self._parameters = parameters
        self._counts = PlanningCounts()
        self._last_error: Exception | None = None
        self._plan: Plan | None = None
        self._asked_t0_us: int | None = None
        self._waiting = False  # a tick whose turn has not come
        self._request: asyncio.Task[None] | None = None
        self._late_s = 0.0  # when the request's budget is spent, in the event loop's time
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> PlanningLoop:
        self._loop = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *error: object) -> None:
        await _stop(self._loop)
        await self._cancel()

    @property
    def counts(self) -> PlanningCounts:
        """As they are now."""
        return self._counts

    @property
    def last_error(self) -> Exception | None:
        """The newest of what went wrong so far."""
        return self._last_error

    @property
    def prediction(self) -> Prediction | None:
        """The newest, however old."""
        return None if self._plan is None else self._plan.prediction

    def trajectory_at(self, time_us: int) -> Waypoint:
        """Where the newest trajectory is at `time_us`, in the world frame: now, or as far ahead as a controller looks.

        Raises NoPlanError, with the numbers, if there is none yet, if its observation is older than `max_age_s`, before
        its t0, and after its end at t0 + 6.4 s: what to do then (to stop, usually) is the caller's to know.
        """
        time_us, plan, now_us = check_int("time_us", time_us), self._plan, self._clock_us()
        why = f"; last error: {self._last_error!r}" if self._last_error else ""
        if plan is None:
            raise NoPlanError(f"no trajectory yet: {self._counts}{why}")
        if abs(plan.age_s(now_us)) > self._max_age_s:
            raise NoPlanError(
                f"the newest trajectory's observation is {plan.age_s(now_us):.3f} s old, wanted at most "
                f"{self._max_age_s:g} s: {self._counts}{why}"
            )
        return plan.at(time_us, now_us)

    async def _run(self) -> None:
        now_s = asyncio.get_running_loop().time
        tick_s = now_s()
        while True:
            if (behind_s := now_s() - tick_s) >= 0:
                ticks = int(behind_s / self._period_s) + 1  # more than one: the event loop was held up
                self._count(ticks=ticks, dropped=ticks - 1 + self._waiting)
                self._waiting = True
                tick_s += ticks * self._period_s
            if self._waiting and (not self._under_way() or now_s() >= self._late_s):
                self._waiting = False
                await self._ask(now_s())
            await self._pause((min(tick_s, self._late_s) if self._waiting else tick_s) - now_s())

    async def _pause(self, seconds: float) -> None:
        """Until then, or until the request is answered."""
        if self._request is not None and self._under_way():
            await asyncio.wait([self._request], timeout=max(seconds, 0))
        else:
            await asyncio.sleep(seconds)

    def _under_way(self) -> bool:
        return self._request is not None and not self._request.done()

    async def _ask(self, now_s: float) -> None:
        """About the newest scene, instead of what is under way; if there is no newer one, that goes on."""
        try:
            scene = self._observe()
            left_s = self._left_s(scene)
        except Exception as error:
            self._count(refused=1)
            self._last_error = error
            return
        if scene.t0_us == self._asked_t0_us:
            self._count(unchanged=1)
            return
        if await self._cancel():  # which may take a while: there may be a newer one
            return await self._ask(asyncio.get_running_loop().time())
        self._asked_t0_us = scene.t0_us
        self._late_s = now_s + self._budget_s
        self._count(asked=1)
        self._request = asyncio.create_task(self._answer(scene, left_s))

    async def _cancel(self) -> bool:
        """Whether there was something to cancel."""
        cancelled = await _stop(self._request)
        self._count(cancelled=cancelled)
        return cancelled

    def _left_s(self, scene: Scene) -> float:
        """Until its observation is too old. Raises NoSceneError if it is already."""
        if scene.t0_us is None or scene.ego_to_world is None:
            raise InvalidRequestError("observe: got a scene without t0_us or ego_to_world, wanted one that knows both")
        age_s = (self._clock_us() - scene.t0_us) / 1e6
        if abs(age_s) >= self._max_age_s:
            raise NoSceneError(
                f"the newest scene, t0_us={scene.t0_us}, is {age_s:.3f} s old, wanted less than {self._max_age_s:g} s: "
                "the cameras or the poses stopped, or clock_us is another clock than theirs"
            )
        return self._max_age_s - age_s

    async def _answer(self, scene: Scene, timeout_s: float) -> None:
        try:
            prediction = await self._client.predict(scene, timeout_s=timeout_s, **self._parameters)
        except Exception as error:
            self._missed("timed_out" if isinstance(error, TimedOutError) else "failed", error)
            return
        try:
            self._plan = Plan(prediction, self._choose(prediction))
        except Exception as error:
            self._missed("unchosen", error)
            return
        self._count(answered=1, late=asyncio.get_running_loop().time() > self._late_s)

    def _missed(self, how: str, error: Exception) -> None:
        self._count(**{how: 1})
        self._last_error = error
        self._asked_t0_us = None  # may be asked about again

    def _count(self, **more: int) -> None:
        self._counts = replace(self._counts, **{name: getattr(self._counts, name) + n for name, n in more.items()})


async def _stop(task: asyncio.Task[None] | None) -> bool:
    """Whether there was something to stop. Its end is awaited, and what it raises then is not raised here."""
    stopped = task is not None and task.cancel()
    if task is not None:
        await asyncio.wait([task])
    return stopped


def _check_positive(name: str, value: float) -> float:
    number = check_float(name, value)
    if not 0 < number < math.inf:
        raise InvalidRequestError(f"{name}: got {value}, wanted a finite number above zero")
    return number
