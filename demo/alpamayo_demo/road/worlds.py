"""Worlds from a random stream, each made so that a situation may come about in it."""

from collections.abc import Callable

import numpy as np

from .centreline import Centreline, curvature_profile
from .driver import SET_SPEED_MPS
from .ego import Ego
from .events import (
    LANE_M,
    LANES_D,
    LEFT_LANE_D,
    RIGHT_LANE_D,
    Cones,
    Crossing,
    Event,
    LaneClosed,
    SpeedBump,
    StopSign,
    TrafficLight,
    Vehicle,
)
from .situations import Situation
from .world import Scenery, World

Random = np.random.Generator

START_M, LENGTH_M = -40.0, 320.0


def world_for(random: Random, situation: Situation, hard: bool) -> tuple[World, Ego]:
    """A world in which the situation may come about, and a car at its beginning, not quite in the lane's middle."""
    lane_d = LANES_D[int(random.integers(2))]
    if situation in (Situation.LANE_CLOSED_LEFT, Situation.LANE_CLOSED_RIGHT):
        lane_d = LEFT_LANE_D if situation is Situation.LANE_CLOSED_LEFT else RIGHT_LANE_D
    speed = SET_SPEED_MPS * (random.uniform(1.0, 1.15) if hard else random.uniform(0.5, 1.02))
    curves = _gentle(random)
    events: list[Event] = []
    if situation in (Situation.CURVE_LEFT, Situation.CURVE_RIGHT):
        curves = [make_curve(random, hard, 1 if situation is Situation.CURVE_LEFT else -1)]
        speed = SET_SPEED_MPS * random.uniform(0.5, 1.0)
    elif situation is Situation.KEEP_LANE:
        speed = SET_SPEED_MPS * random.uniform(0.85, 1.1 if hard else 1.03)
        if random.random() < 0.5:  # something further ahead than the driver minds, or behind it
            events = [make_event(random, _DECOYS[int(random.integers(len(_DECOYS)))], lane_d, 75, 130, hard)]
    elif situation is Situation.SPEED_UP:
        speed = SET_SPEED_MPS * random.uniform(0, 0.7)
        chance = random.random()
        if chance < 0.25:
            speed, events = random.uniform(0, 5), [_left_crossing(random, lane_d)]
        elif chance < 0.4:
            events = [Vehicle(random.uniform(48, 110), lane_d, random.uniform(9, 16))]  # that has left
        elif chance < 0.7:
            events = [make_event(random, _DECOYS[int(random.integers(len(_DECOYS)))], lane_d, 25, 130, hard)]
    elif situation is Situation.SLOW_VEHICLE:
        events = [Vehicle(random.uniform(25, 60), lane_d, random.uniform(2, 3) if hard else random.uniform(3.5, 5))]
    elif situation is Situation.FOLLOW_VEHICLE:
        ahead = random.uniform(3.5, 5.0) if random.random() < 0.3 else random.uniform(6.5, 9.5)
        speed = max(0.0, ahead + random.uniform(-1.5, 0.5))
        events = [Vehicle(2.3 + 2.5 + 1.1 * speed + random.uniform(0, 12), lane_d, ahead)]
    elif situation in (Situation.GREEN_LIGHT, Situation.DRIVE_ON):
        near = random.random() < 0.5 or situation is Situation.DRIVE_ON
        speed = random.uniform(0, 4) if near else speed
        kind: Situation = Situation.STOP_SIGN if situation is Situation.DRIVE_ON else situation
        if near and situation is Situation.GREEN_LIGHT and random.random() < 0.5:
            kind = Situation.RED_LIGHT  # that turns green
        events = [make_event(random, kind, lane_d, 8 if near else 40, 25 if near else 80, hard)]
    else:
        events = [make_event(random, situation, lane_d, 45, 85, hard)]
    road = Centreline(curvature_profile(LENGTH_M, START_M, curves), START_M)
    world = World(road, lane_d, events, _traffic(random, lane_d, events), scenery(random, LENGTH_M), *light(random))
    return world, beginner(random, road, lane_d, speed)


_DECOYS = (
    Situation.RED_LIGHT,
    Situation.GREEN_LIGHT,
    Situation.STOP_SIGN,
    Situation.PEDESTRIAN,
    Situation.CONES_LEFT,
    Situation.CONES_RIGHT,
    Situation.SPEED_BUMP,
    Situation.BROKEN_DOWN,
)


def make_event(random: Random, situation: Situation, lane_d: float, from_s: float, to_s: float, hard: bool) -> Event:
    """What brings the situation about, somewhere between two s, in the lane whose middle is at `lane_d`."""
    s = random.uniform(from_s, to_s)
    makers: dict[Situation, Callable[[], Event]] = {
        Situation.BROKEN_DOWN: lambda: Vehicle(s, lane_d, 0.0, (0.75, 0.75, 0.72)),
        Situation.RED_LIGHT: lambda: TrafficLight(s, lane_d, green=False),
        Situation.GREEN_LIGHT: lambda: TrafficLight(s, lane_d, green=True),
        Situation.STOP_SIGN: lambda: StopSign(s, lane_d),
        Situation.PEDESTRIAN: lambda: _crossing(random, s, lane_d, 1.1 if hard else random.uniform(0.6, 0.9)),
        Situation.CONES_RIGHT: lambda: Cones(s, lane_d, on_the_right=True),
        Situation.CONES_LEFT: lambda: Cones(s, lane_d, on_the_right=False),
        Situation.LANE_CLOSED_RIGHT: lambda: LaneClosed(s, lane_d),
        Situation.LANE_CLOSED_LEFT: lambda: LaneClosed(s, lane_d),
        Situation.SPEED_BUMP: lambda: SpeedBump(s, lane_d),
    }
    return makers[situation]()


def _crossing(random: Random, s: float, lane_d: float, walking_mps: float) -> Crossing:
    """With a pedestrian who waits beside the road, on the left or on the right."""
    side = _side(random)
    return Crossing(s, lane_d, -side * (LANE_M + 1.5), side * walking_mps)


def _left_crossing(random: Random, lane_d: float) -> Crossing:
    """A pedestrian who is leaving the car's way, so that the car has hardly stopped, or has stopped for a while."""
    side = _side(random)
    at = lane_d + side * random.uniform(-2.5, 1.5)
    return Crossing(random.uniform(10, 35), lane_d, at, side * random.uniform(0.6, 0.9))


def _side(random: Random) -> float:
    return float(random.choice((-1, 1)))


def make_curve(random: Random, hard: bool, side: int) -> tuple[float, float, float]:
    """(from_s, to_s, curvature)."""
    radius = random.uniform(28, 36) if hard else random.uniform(40, 110)
    begin = random.uniform(20, 70)
    return begin, begin + max(30.0, radius * random.uniform(0.6, 1.3)), side / radius


def _gentle(random: Random) -> list[tuple[float, float, float]]:
    """A road that is not quite straight."""
    begin = random.uniform(-30, 80)
    return [(begin, begin + random.uniform(40, 150), random.uniform(-1, 1) / 300)] if random.random() < 0.5 else []


def _traffic(random: Random, lane_d: float, events: list[Event]) -> list[Vehicle]:
    if random.random() < 0.6 or any(
        isinstance(event, LaneClosed | TrafficLight | StopSign | Crossing) for event in events
    ):
        return []
    return [Vehicle(random.uniform(-5, 60), -lane_d, random.uniform(7, 12), _colour(random))]


def scenery(random: Random, length_m: float) -> list[Scenery]:
    """Trees and houses on both sides, from START_M to `length_m`."""
    boxes, s = [], START_M
    while s < length_m:
        s += random.uniform(6, 25)
        side = _side(random)
        d = side * random.uniform(10, 18)
        if random.random() < 0.5:  # a tree
            boxes.append(Scenery(s, d, 2.0, 2.0, random.uniform(3, 7), (0.15, random.uniform(0.25, 0.4), 0.12)))
        else:
            boxes.append(Scenery(s, d + side * 4, random.uniform(6, 14), 8.0, random.uniform(3, 9), _colour(random)))
    return boxes


def _colour(random: Random) -> tuple[float, float, float]:
    red, green, blue = random.uniform(0.25, 0.75, size=3)
    return red, green, blue


def light(random: Random) -> tuple[float, float]:
    """(dusk, asphalt)."""
    return float(random.choice((0.0, 0.0, random.uniform(0.3, 1.0)))), random.uniform(0.8, 1.25)


def beginner(random: Random, road: Centreline, lane_d: float, speed: float) -> Ego:
    """A car at s = 0, not quite in the middle of its lane."""
    d = lane_d + float(np.clip(random.normal() * 0.25, -0.6, 0.6))
    x, y = road.to_world(0.0, d)
    heading = road.point(0.0)[2] + float(np.clip(random.normal() * 0.02, -0.05, 0.05))
    return Ego(float(x), float(y), heading, speed, 0.0, d)
