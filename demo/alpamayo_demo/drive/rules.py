"""How well a drive went: what it hit, where it left the road, which signals it ran."""

from dataclasses import dataclass

import numpy as np

from alpamayo_demo.road.ego import DT_S
from alpamayo_demo.road.events import LANE_M, Cones, Crossing, LaneClosed, StopSign, TrafficLight
from alpamayo_demo.road.solids import LEFT_EDGE_D, RIGHT_EDGE_D

from .loop import Tick
from .outline import outline, touched

_NAMES = {Cones: "a cone", LaneClosed: "the barrier", Crossing: "the pedestrian"}


@dataclass(frozen=True)
class Outcome:
    """Of one drive; metres. The lane's middle is the driver's path, with its way around cones and closed lanes."""

    faults: list[str]
    """Each once, with when it was first; empty: a drive without fault."""
    driven_m: float
    """Along the road."""
    mean_off_middle_m: float
    max_off_middle_m: float


def judge(ticks: list[Tick]) -> Outcome:
    """All of a drive, from its first plan on."""
    first: dict[str, float] = {}
    for i, tick in enumerate(ticks):
        for fault in [*_of_place(tick), *_of_signals(ticks[i - 1] if i else tick, tick)]:
            first.setdefault(fault, i * DT_S)
    off = np.array([abs(tick.ego.d - tick.world.path_d(tick.ego.s)) for tick in ticks])
    return Outcome(
        faults=[f"{fault} after {seconds:.1f} s" for fault, seconds in first.items()],
        driven_m=ticks[-1].ego.s - ticks[0].ego.s,
        mean_off_middle_m=float(off.mean()),
        max_off_middle_m=float(off.max()),
    )


def line(outcome: Outcome, own: Outcome) -> str:
    """`own`: the scripted driver's on the same route."""
    return (
        f"{outcome.driven_m:4.0f} m (the scripted driver: {own.driven_m:3.0f} m), "
        f"off the lane's middle {outcome.mean_off_middle_m:.2f} m, at most {outcome.max_off_middle_m:.2f} m; "
        f"{', '.join(outcome.faults) or 'no fault'}"
    )


def _of_place(tick: Tick) -> list[str]:
    faults = []
    _, d = tick.world.road.locate(outline(tick.ego), tick.ego.s)
    if d.min() < RIGHT_EDGE_D or d.max() > LEFT_EDGE_D:
        faults.append("left the road")
    if abs(tick.ego.d - tick.world.path_d(tick.ego.s)) > LANE_M / 2:  # its middle is in another lane than it should be
        faults.append("left its lane")
    if event := touched(tick.world, tick.ego):
        faults.append(f"hit {_NAMES.get(type(event), 'the vehicle ahead')}")
    return faults


def _of_signals(before: Tick, now: Tick) -> list[str]:
    """Lines that the bumper has just passed, and should not have."""
    faults = []
    for event in before.world.events:
        if before.ego.front_s <= event.s < now.ego.front_s:
            if isinstance(event, TrafficLight) and not event.green:
                faults.append("ran the red light")
            if isinstance(event, StopSign) and not event.done:
                faults.append("ran the stop sign")
    return faults
