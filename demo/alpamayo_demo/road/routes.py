"""Long roads for closed-loop driving: one thing to mind after the other, never two at once."""

import numpy as np

from .centreline import Centreline, curvature_profile
from .driver import SET_SPEED_MPS
from .ego import Ego
from .events import LANES_D, REACH_M, Cones, Event, LaneClosed, LeavingVehicle
from .situations import Situation
from .world import World
from .worlds import START_M, Random, beginner, light, make_curve, make_event, scenery

SEED_SPACE = 3  # beside those of the scenes' splits
FIRST_M, LAST_M, LENGTH_M = 55.0, 300.0, 480.0
LONGEST_CURVE_M = 70.0
FREE_M = (75.0, 85.0)  # of road between one thing and the next: more than the driver's reach

_LATER = (
    Situation.CURVE_LEFT,
    Situation.CURVE_RIGHT,
    Situation.CONES_LEFT,
    Situation.CONES_RIGHT,
    Situation.LANE_CLOSED_RIGHT,
    Situation.RED_LIGHT,
    Situation.GREEN_LIGHT,
    Situation.STOP_SIGN,
    Situation.SPEED_BUMP,
    Situation.PEDESTRIAN,
)
_FIRST = (Situation.SLOW_VEHICLE, *_LATER)
# It drives on before the car, over lines and through barriers.
_NOT_AFTER_A_VEHICLE = (Situation.LANE_CLOSED_RIGHT, Situation.RED_LIGHT, Situation.STOP_SIGN)
_AFTER_A_VEHICLE = tuple(situation for situation in _LATER if situation not in _NOT_AFTER_A_VEHICLE)
_BROUGHT_ABOUT_BY = {
    Situation.FOLLOW_VEHICLE: Situation.SLOW_VEHICLE,
    Situation.DRIVE_ON: Situation.STOP_SIGN,
    Situation.LANE_CLOSED_LEFT: Situation.LANE_CLOSED_RIGHT,  # whichever lane the car is in then
}


def route(seed: int) -> tuple[World, Ego]:
    """A road with three to five different things to mind, and a car at its beginning. The same for the same seed >= 0.

    The last is a broken-down vehicle: nobody drives off the road's end. Nobody else is on the road.
    """
    return long_road(np.random.default_rng([SEED_SPACE, seed]))


def long_road(random: Random, situation: Situation | None = None) -> tuple[World, Ego]:
    """As `route`, from a random stream, and made so that the situation may come about on it (if two long curves
    leave room for it).
    """
    wanted = _BROUGHT_ABOUT_BY.get(situation, situation) if situation else None
    wanted_at = int(random.integers(3)) if wanted in _LATER else 0
    lane_d = start_d = LANES_D[int(random.integers(2))]
    curves: list[tuple[float, float, float]] = []
    events: list[Event] = []
    s = FIRST_M
    done: list[Situation] = []
    while s < LAST_M:
        now = wanted in _FIRST and len(done) == wanted_at
        thing = wanted if wanted and now else _choose(random, done, wanted)
        done.append(thing)
        if thing in (Situation.CURVE_LEFT, Situation.CURVE_RIGHT):
            begin, end, curvature = make_curve(random, False, 1 if thing is Situation.CURVE_LEFT else -1)
            curves.append((s, s + min(end - begin, LONGEST_CURVE_M), curvature))
            s = curves[-1][1]
        else:
            event = _make(random, thing, lane_d, s)
            events.append(event)
            s += event.LENGTH if isinstance(event, Cones) else 0.0
            lane_d = -lane_d if isinstance(event, LaneClosed) else lane_d
        s += random.uniform(*FREE_M)
    events.append(make_event(random, Situation.BROKEN_DOWN, lane_d, s, s, False))
    road = Centreline(curvature_profile(s + LENGTH_M - LAST_M, START_M, curves), START_M)
    world = World(road, start_d, events, [], scenery(random, road.end_m), *light(random))
    return world, beginner(random, road, start_d, SET_SPEED_MPS * random.uniform(0.6, 1.0))


def _choose(random: Random, done: list[Situation], wanted: Situation | None) -> Situation:
    if done:
        choice = _AFTER_A_VEHICLE if Situation.SLOW_VEHICLE in done else _LATER
    else:
        choice = _LATER if wanted in _NOT_AFTER_A_VEHICLE else _FIRST
    left = [situation for situation in choice if situation not in done]
    return left[int(random.integers(len(left)))]


def _make(random: Random, situation: Situation, lane_d: float, s: float) -> Event:
    if situation is Situation.SLOW_VEHICLE:
        return LeavingVehicle(REACH_M, lane_d, random.uniform(3.5, 5.0))
    return make_event(random, situation, lane_d, s, s, False)
