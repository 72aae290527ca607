"""The demo's car as a robot has it: cameras, odometry and a clock, a SceneBuffer and a planning loop."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from alpamayo_client import PlanningLoop, SceneBuffer, planning_thread
from alpamayo_demo.drive.loop import PLAN_STEPS, Plan
from alpamayo_demo.drive.planners import ASKED, plan_of
from alpamayo_demo.road.ego import DT_S, Ego
from alpamayo_demo.road.render import render
from alpamayo_demo.road.scenes import FRAME_OFFSETS_MS, FRAME_STEPS, MODEL_CAMERAS, Moment
from alpamayo_demo.road.world import World
from alpamayo_demo.served import GIVE_UP_S
from end_to_end.live_server import until

STEP_US = round(DT_S * 1e6)
PLAN_US = PLAN_STEPS * STEP_US


class Robot:
    """Its clock is the drive's: it stands while an answer is waited for."""

    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000
        self.buffer = SceneBuffer(
            [camera.name for camera in MODEL_CAMERAS],
            frame_offsets_ms=FRAME_OFFSETS_MS,
            clock_us=lambda: self.now_us,
        )
        self.planning: PlanningLoop
        self.off_m: list[float] = []
        """How far it came from where the loop's trajectory was half a second later."""
        self._target_xyz: np.ndarray | None = None

    def plan(self, moment: Moment) -> Plan:
        """For `drive`."""
        first = self._target_xyz is None
        self._push(moment.past if first else moment.past[-PLAN_STEPS:])
        if not first:
            self.off_m.append(math.dist(self._target_xyz, (moment.ego.x, moment.ego.y, 0)))
        until(lambda: self.planning.prediction is not None and self.planning.prediction.t0_us == self.now_us, "a plan")
        self._target_xyz = self.planning.trajectory_at(self.now_us + PLAN_US).xyz
        return plan_of(self.planning.prediction)

    def _push(self, past: list[tuple[World, Ego]]) -> None:
        """The poses last: until then there is no newer scene."""
        self.now_us += PLAN_US
        seen = [(self.now_us - back * STEP_US, world, ego) for back, (world, ego) in enumerate(reversed(past))]
        for time_us, world, ego in seen[: FRAME_STEPS[0] + 1]:
            for camera in MODEL_CAMERAS:
                self.buffer.push_frame(camera.name, time_us, render(world, ego, camera))
        for time_us, _, ego in reversed(seen):
            self.buffer.push_pose(
                time_us, (ego.x, ego.y, 0), (0, 0, math.sin(ego.heading / 2), math.cos(ego.heading / 2))
            )


@contextmanager
def robot_at(url: str) -> Iterator[Robot]:
    """Its loop asks the server at `url`, during the block."""
    robot = Robot()
    with planning_thread(
        url,
        robot.buffer.scene,
        rate_hz=50,
        budget_s=GIVE_UP_S,
        max_age_s=GIVE_UP_S,
        clock_us=lambda: robot.now_us,
        **ASKED,
    ) as robot.planning:
        yield robot
