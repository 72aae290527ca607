"""The loop: a plan every half second, driven by the served unicycle's own equations."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_demo.road.driver import advance, decide, world_after
from alpamayo_demo.road.ego import DT_S, Ego
from alpamayo_demo.road.scenes import HISTORY_POSES, Moment
from alpamayo_demo.road.world import World

PLAN_STEPS = 5  # waypoints that are driven before the next plan


@dataclass(frozen=True, eq=False)
class Plan:
    """Frame: the ego frame where the plan was made."""

    thought: str
    xyz: NDArray[np.float32]
    """(64, 3) metres."""
    action: NDArray[np.float32]
    """(64, 2): acceleration in m/s2, curvature in 1/m."""


Planner = Callable[[Moment], Plan]


@dataclass(frozen=True)
class Tick:
    """One state of the drive, DT_S after the one before."""

    world: World
    ego: Ego
    plan: Plan
    """What the car follows now."""
    planned_at: Ego
    """Where that plan was made."""


def drive(world: World, ego: Ego, planner: Planner, seconds: float) -> list[Tick]:
    """round(seconds / DT_S) + 1 states, from the first plan on: the scripted driver makes the history before it."""
    past, accel = [(world, ego)], 0.0
    for _ in range(HISTORY_POSES):
        step = decide(world, ego, accel)
        accel = step.accel
        ego = advance(world, ego, accel, step.curvature)
        world = world_after(world, ego)
        past.append((world, ego))
    ticks: list[Tick] = []
    for i in range(round(seconds / DT_S)):
        if i % PLAN_STEPS == 0:
            plan = planner(Moment(world, past[-HISTORY_POSES:], accel, decide(world, ego, accel).situation))
            planned_at = ego
        ticks.append(Tick(world, ego, plan, planned_at))
        wanted, curvature = plan.action[i % PLAN_STEPS].tolist()
        accel = max(wanted, -ego.speed / DT_S)  # the car has no reverse gear
        ego = advance(world, ego, accel, curvature)
        world = world_after(world, ego)
        past.append((world, ego))
    return [*ticks, Tick(world, ego, plan, planned_at)]
