"""The loop: a plan every half second, driven by the served unicycle's equations, with no reverse gear. Planning takes
no time: the world waits.
"""

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


class Ride:
    """A car under way. The scripted driver makes the history that the first plan needs."""

    def __init__(self, world: World, ego: Ego) -> None:
        self.world, self.ego = world, ego
        self._accel = 0.0
        self._past = [(world, ego)]
        for _ in range(HISTORY_POSES):
            step = decide(self.world, self.ego, self._accel)
            self.go(step.accel, step.curvature)

    def moment(self) -> Moment:
        """Where it is now; the situation is what the scripted driver would say."""
        situation = decide(self.world, self.ego, self._accel).situation
        return Moment(self.world, self._past[-HISTORY_POSES:], self._accel, situation)

    def go(self, accel: float, curvature: float) -> None:
        """For DT_S, with an acceleration in m/s2 and a curvature in 1/m."""
        self._accel = max(accel, -self.ego.speed / DT_S)  # the car has no reverse gear
        self.ego = advance(self.world, self.ego, self._accel, curvature)
        self.world = world_after(self.world, self.ego)
        self._past.append((self.world, self.ego))


def drive(world: World, ego: Ego, planner: Planner, seconds: float) -> list[Tick]:
    """round(seconds / DT_S) + 1 states, from the first plan on."""
    ride = Ride(world, ego)
    ticks: list[Tick] = []
    for i in range(round(seconds / DT_S)):
        if i % PLAN_STEPS == 0:
            plan, planned_at = planner(ride.moment()), ride.ego
        ticks.append(Tick(ride.world, ride.ego, plan, planned_at))
        ride.go(*plan.action[i % PLAN_STEPS].tolist())
    return [*ticks, Tick(ride.world, ride.ego, plan, planned_at)]
