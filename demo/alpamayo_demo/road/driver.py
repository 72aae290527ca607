"""The scripted driver: it knows the world, and drives by the Intelligent Driver Model (Treiber et al., 2000) along the
road and by pure pursuit (Coulter, 1992) across it.
"""

from copy import copy
from dataclasses import dataclass, replace
from math import cos, inf, sin, sqrt

from .ego import DT_S, Ego, moved
from .events import AT_THE_LINE_M, STANDING_MPS, Event
from .situations import Situation
from .world import World

SET_SPEED_MPS = 11.0
ACCEL_MPS2, BRAKE_MPS2, HEADWAY_S, STANDSTILL_GAP_M = 1.5, 2.0, 1.0, 2.5
ACCEL_LIMITS_MPS2, JERK_LIMIT_MPS3 = (-4.0, 1.5), 6.0
LATERAL_MPS2 = 2.0
COMFORTABLE_MPS2 = 1.5
CURVE_1PM = 1 / 160  # a road bent more than this is a curve
CREEP_GAP_M = 0.6  # beyond the standstill gap: close enough to stop for good
SLOW_BEFORE_M = 3.0  # the limit of a bump is kept from here on
SLOW = 0.8


@dataclass(frozen=True)
class Step:
    """What the driver does now and why: acceleration in m/s2, curvature in 1/m."""

    situation: Situation
    accel: float
    curvature: float


def decide(
    world: World, ego: Ego, last_accel: float, aside_m: float = 0.0, standstill_gap_m: float = STANDSTILL_GAP_M
) -> Step:
    """`last_accel`: what it did a step before, in m/s2: jerk is limited. `aside_m`: how far to the left of where it
    should be an inattentive driver steers. `standstill_gap_m`: how far before a line or a vehicle it wants to stop.
    """
    accels = [_for_event(event, ego, standstill_gap_m) for event in world.events]
    seen = [(accel, event.situation(ego)) for accel, event in zip(accels, world.events, strict=True)]
    situation = min(((accel, it) for accel, it in seen if it), key=lambda pair: pair[0], default=(inf, None))[1]
    wanted = min([_free(ego.speed), *accels])
    wanted = min(wanted, _for_curve(world, ego))
    most = JERK_LIMIT_MPS3 * DT_S
    accel = min(max(wanted, last_accel - most), last_accel + most)
    accel = max(min(max(accel, ACCEL_LIMITS_MPS2[0]), ACCEL_LIMITS_MPS2[1]), -ego.speed / DT_S)
    return Step(situation or _of_the_road(world, ego), accel, _steer(world, ego, aside_m))


def plan(world: World, ego: Ego, last_accel: float, steps: int) -> list[tuple[Step, Ego]]:
    """What it will do and where that leads, if signals and pedestrians stay as they are and vehicles go on."""
    foreseen, way = with_own_events(world), []
    for _ in range(steps):
        step = decide(foreseen, ego, last_accel)
        ego, last_accel = advance(foreseen, ego, step.accel, step.curvature), step.accel
        for event in foreseen.events:
            event.move()
        way.append((step, ego))
    return way


def world_after(world: World, ego: Ego) -> World:
    """The world DT_S later, with the car at `ego` by then; `world` is left as it is."""
    world = with_own_events(world)
    for event in world.events:
        event.move()
        event.go_on(ego)
    for vehicle in world.traffic:
        vehicle.move()
    return world


def with_own_events(world: World) -> World:
    """The same road with events and traffic of its own."""
    return replace(world, events=[copy(it) for it in world.events], traffic=[copy(it) for it in world.traffic])


def advance(world: World, ego: Ego, accel: float, curvature: float) -> Ego:
    """The car DT_S later."""
    x, y, heading, speed = moved(ego.x, ego.y, ego.heading, ego.speed, accel, curvature)
    s = ego.s
    for _ in range(2):
        cx, cy, along, bend = world.road.point(s)
        dx, dy = x - cx, y - cy
        d = dy * cos(along) - dx * sin(along)
        s += (dx * cos(along) + dy * sin(along)) / max(1 - bend * d, 0.3)
    return Ego(x, y, heading, speed, s, d)


def _free(speed: float) -> float:
    return ACCEL_MPS2 * (1 - (speed / SET_SPEED_MPS) ** 4)


def _for_event(event: Event, ego: Ego, standstill_gap_m: float) -> float:
    gap = event.gap_m(ego)
    if gap < inf:
        return _follow(ego.speed, gap, event.speed_mps(), standstill_gap_m)
    limit = event.limit_mps()
    if limit < inf and event.near(ego):
        return _slow_down(ego.speed, limit, max(event.s - ego.front_s - SLOW_BEFORE_M, 0.0))
    return inf


def _follow(speed: float, gap_m: float, ahead_mps: float, standstill_gap_m: float) -> float:
    """The Intelligent Driver Model's acceleration, in m/s2."""
    if ahead_mps == 0:
        if gap_m < standstill_gap_m + CREEP_GAP_M and speed < 1.0:
            return -max(speed, 0.25)  # softly: the last decimetres take a second
        if gap_m < AT_THE_LINE_M and speed < STANDING_MPS:
            return -speed / DT_S  # who stands does not come closer
    closing = speed * (speed - ahead_mps) / (2 * sqrt(ACCEL_MPS2 * BRAKE_MPS2))
    wanted_gap = standstill_gap_m + max(0.0, speed * HEADWAY_S + closing)
    return _free(speed) - ACCEL_MPS2 * (wanted_gap / max(gap_m, 0.1)) ** 2


def _slow_down(speed: float, limit: float, distance_m: float) -> float:
    """So that `limit` is reached after `distance_m` at a comfortable deceleration, and kept."""
    allowed = sqrt(limit**2 + 2 * COMFORTABLE_MPS2 * distance_m)
    return (allowed - speed) / 0.5


def _for_curve(world: World, ego: Ego) -> float:
    wanted = inf
    for ahead in range(0, 31, 5):
        bend = abs(world.road.point(ego.s + ahead)[3])
        if bend > CURVE_1PM:
            wanted = min(wanted, _slow_down(ego.speed, sqrt(LATERAL_MPS2 / bend), ahead))
    return wanted


def _of_the_road(world: World, ego: Ego) -> Situation:
    bend = max((world.road.point(ego.s + ahead)[3] for ahead in (0, 5, 10, 15, 20)), key=abs)
    if abs(bend) > CURVE_1PM:
        return Situation.CURVE_LEFT if bend > 0 else Situation.CURVE_RIGHT
    return Situation.SPEED_UP if ego.speed < SLOW * SET_SPEED_MPS else Situation.KEEP_LANE


def _steer(world: World, ego: Ego, aside_m: float) -> float:
    """Pure pursuit: the arc to the point of the path that is `ahead` metres further."""
    ahead = max(7.0, 3.0 + 0.8 * ego.speed)  # a slow car does not swerve back either
    x, y, heading, _ = world.road.point(ego.s + ahead)
    d = world.path_d(ego.s + ahead) + aside_m
    dx, dy = x - sin(heading) * d - ego.x, y + cos(heading) * d - ego.y
    left = dy * cos(ego.heading) - dx * sin(ego.heading)
    return 2 * left / (dx * dx + dy * dy) * min(1.0, ego.speed)  # a standing car does not turn its wheels
