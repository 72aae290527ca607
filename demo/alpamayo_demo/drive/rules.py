"""How well a drive went: what it hit, where it left its lane or the road, which signals it ran, how far it came."""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from alpamayo_demo.road.driver import decide
from alpamayo_demo.road.ego import DT_S
from alpamayo_demo.road.events import (
    LANE_M,
    STANDING_MPS,
    Cones,
    Crossing,
    LaneClosed,
    SpeedBump,
    StopSign,
    TrafficLight,
)
from alpamayo_demo.road.solids import LEFT_EDGE_D, RIGHT_EDGE_D

from .loop import Tick
from .outline import outline, touched

BEHIND = 0.5  # of the scripted driver's distance
SETS_OFF_MPS2 = 0.1  # what the driver wants, standing, when nothing holds it
PATIENCE_S = 5.0  # with a car that stands where the driver would set off
LANE_CHANGE_M = 10.0  # before and after it, the other lane may be used too
FULL_STOP_S = 1.5  # before a stop sign, in one go: as long as the ego history that a model sees
TOO_FAST_MPS = 2.0  # above what the driver takes a speed bump at
_NAMES = {Cones: "a cone", LaneClosed: "the barrier", Crossing: "the pedestrian"}


@dataclass(frozen=True)
class Outcome:
    """Of one drive. The lane's middle is the driver's path, with its way around cones and closed lanes."""

    faults: list[str]
    """Each once, with when it was first; empty: a drive without fault."""
    driven_m: float
    """Along the road."""
    scripted_driver_m: float
    """As far as the scripted driver comes."""
    mean_off_middle_m: float
    max_off_middle_m: float
    max_acceleration_mps2: float
    max_lateral_acceleration_mps2: float


def judge(ticks: list[Tick], own: list[Tick]) -> Outcome:
    """All of a drive, from its first plan on; `own`: the scripted driver's on the same route."""
    first: dict[str, float] = {}
    for i, tick in enumerate(ticks):
        for fault in [*_of_place(tick), *_of_signals(ticks[i - 1] if i else tick, tick)]:
            first.setdefault(fault, i * DT_S)
    waited = 0.0
    for i, tick in enumerate(ticks):
        waited = waited + DT_S if _stands_for_nothing(tick) else 0.0
        if waited > PATIENCE_S:
            first.setdefault("stood for nothing", i * DT_S)
    faults = [f"{fault} after {seconds:.1f} s" for fault, seconds in first.items()]
    driven, scripted = (way[-1].ego.s - way[0].ego.s for way in (ticks, own))
    if driven < BEHIND * scripted:
        faults.append("stayed behind")
    off = np.array([abs(tick.ego.d - tick.world.path_d(tick.ego.s)) for tick in ticks])
    speed, heading = (np.array([getattr(tick.ego, name) for tick in ticks]) for name in ("speed", "heading"))
    acceleration, lateral = np.diff(speed) / DT_S, speed[:-1] * np.diff(heading) / DT_S
    return Outcome(
        faults,
        driven,
        scripted,
        mean_off_middle_m=float(off.mean()),
        max_off_middle_m=float(off.max()),
        max_acceleration_mps2=float(np.abs(acceleration).max(initial=0.0)),
        max_lateral_acceleration_mps2=float(np.abs(lateral).max(initial=0.0)),
    )


def line(outcome: Outcome) -> str:
    """For people."""
    return (
        f"{outcome.driven_m:4.0f} m (the scripted driver: {outcome.scripted_driver_m:3.0f} m), "
        f"off the lane's middle {outcome.mean_off_middle_m:.2f} m, at most {outcome.max_off_middle_m:.2f} m; "
        f"{', '.join(outcome.faults) or 'no fault'}"
    )


def _stands_for_nothing(tick: Tick) -> bool:
    return tick.ego.speed < STANDING_MPS and decide(tick.world, tick.ego, last_accel=0.0).accel > SETS_OFF_MPS2


def _of_place(tick: Tick) -> list[str]:
    faults = []
    _, d = tick.world.road.locate(outline(tick.ego), tick.ego.s)
    if d.min() < RIGHT_EDGE_D or d.max() > LEFT_EDGE_D:
        faults.append("left the road")
    right, left = _lane(tick)
    if d.min() < right or d.max() > left:
        faults.append("left its lane")
    if event := touched(tick.world, tick.ego):
        faults.append(f"hit {_NAMES.get(type(event), 'a vehicle')}")
    return faults


def _lane(tick: Tick) -> tuple[float, float]:
    """The d of the lane's edges, in metres; of both lanes where one is closed and the path changes to the other."""
    world, s = tick.world, tick.ego.s
    changes = [event for event in world.events if isinstance(event, LaneClosed)]
    path = [
        (world.lane_d + sum(event.offset_m(s + ahead) for event in changes)) / LANE_M + 0.5  # 0 or 1 in a lane's middle
        for ahead in (-LANE_CHANGE_M, 0.0, LANE_CHANGE_M)
    ]
    return LANE_M * (floor(min(path) + 1e-6) - 1), LANE_M * ceil(max(path) - 1e-6)


def _of_signals(before: Tick, now: Tick) -> list[str]:
    """Lines that the bumper has just passed, and should not have, or not so fast."""
    faults = []
    for event in before.world.events:
        if before.ego.front_s <= event.s < now.ego.front_s:
            if isinstance(event, TrafficLight) and not event.green:
                faults.append("ran the red light")
            if isinstance(event, StopSign) and event.stood_s < FULL_STOP_S - 1e-6:
                faults.append("ran the stop sign")
            if isinstance(event, Crossing) and event.occupied:
                faults.append("did not wait for the pedestrian")
            if isinstance(event, SpeedBump) and now.ego.speed > event.limit_mps() + TOO_FAST_MPS:
                faults.append("took the speed bump too fast")
    return faults
