"""Driving scenes from seeds: what the model is trained and judged on. The same seed is the same scene everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from .cameras import FRONT_TELE, FRONT_WIDE, Camera
from .centreline import Centreline, curvature_profile
from .driver import SET_SPEED_MPS, Step, advance, decide, plan, with_own_events
from .ego import DT_S, Ego
from .events import (
    LANE_M,
    Cones,
    Crossing,
    Event,
    LaneClosed,
    SpeedBump,
    StopSign,
    TrafficLight,
    Vehicle,
)
from .render import render
from .situations import Situation
from .world import Scenery, World

Array = NDArray[np.float64]
Random = np.random.Generator

MODEL_CAMERAS: tuple[Camera, ...] = (FRONT_WIDE, FRONT_TELE)
FRAME_STEPS = (5, 0)  # frames at t0 - 0.5 s and at t0
HISTORY_POSES, WAYPOINTS = 16, 64
MARGIN_STEPS = 5  # the driver is of one mind from 0.5 s before t0 to 0.5 s after it
START_M, LENGTH_M = -40.0, 320.0


class Split(IntEnum):
    """No two splits share a scene: their number is part of the seed."""

    TRAIN = 0
    HELD_OUT = 1
    HARD = 2
    """Tighter curves, slower vehicles ahead, higher speeds than in TRAIN and HELD_OUT."""


@dataclass(frozen=True)
class Moment:
    """The world at t0, and how the car came there."""

    world: World
    past: list[tuple[World, Ego]]
    """16 poses, the last is at t0, each with the world as it was."""
    last_accel: float
    situation: Situation

    @property
    def ego(self) -> Ego:
        """At t0."""
        return self.past[-1][1]


@dataclass(frozen=True, eq=False)
class DrivingScene:
    """What the contract wants, and what the driver does. Frame: the ego frame at t0."""

    image_frames: NDArray[np.uint8]
    """(cameras, frames, 3, height, width) RGB."""
    ego_history_xyz: NDArray[np.float32]
    """(16, 3) metres."""
    ego_history_rot: NDArray[np.float32]
    """(16, 3, 3)."""
    ego_future_xyz: NDArray[np.float32]
    """(64, 3) metres."""
    action: NDArray[np.float32]
    """(64, 2): acceleration in m/s2, curvature in 1/m."""
    situation: Situation


def scene(split: Split, seed: int, situation: Situation) -> DrivingScene:
    """The scene of a situation with this seed (>= 0)."""
    return observe(moment(split, seed, situation))


def moment(split: Split, seed: int, situation: Situation) -> Moment:
    """A world with that situation in it, driven by the driver with unsteady hands up to some moment of it."""
    random = np.random.default_rng([int(split), seed, list(Situation).index(situation)])
    while True:  # a world in which the situation does not come about is thrown away
        world, ego = _world(random, situation, split)
        trail = _drive(random, world, ego, steps=130)
        found = [i for i in range(HISTORY_POSES + MARGIN_STEPS, len(trail) - MARGIN_STEPS) if _is(trail, i, situation)]
        if found:
            i = _pick(random, found)
            past = [(world, ego) for world, ego, _ in trail[i - HISTORY_POSES + 1 : i + 1]]
            return Moment(past[-1][0], past, trail[i - 1][2].accel, situation)


def observe(moment: Moment) -> DrivingScene:
    """What the cameras and the odometry give at that moment, and what the driver does next."""
    way = _foreseen(moment, moment.world)
    frames = [[render(*moment.past[-1 - back], camera) for back in FRAME_STEPS] for camera in MODEL_CAMERAS]
    xyz, rot = in_ego_frame([ego for _, ego in moment.past], moment.ego)
    return DrivingScene(
        image_frames=np.array(frames),
        ego_history_xyz=xyz,
        ego_history_rot=rot,
        ego_future_xyz=in_ego_frame([ego for _, ego in way], moment.ego)[0],
        action=_actions(way),
        situation=moment.situation,
    )


def imagined_action(moment: Moment, situation: Situation) -> NDArray[np.float32]:
    """(64, 2): what the driver would do who believes to be in that situation."""
    return _actions(_foreseen(moment, imagined(moment, situation)))


def imagined_future(moment: Moment, situation: Situation) -> NDArray[np.float32]:
    """(64, 3) metres in the ego frame at t0: where that would lead."""
    way = _foreseen(moment, imagined(moment, situation))
    return in_ego_frame([ego for _, ego in way], moment.ego)[0]


def _foreseen(moment: Moment, world: World) -> list[tuple[Step, Ego]]:
    return plan(world, moment.ego, moment.last_accel, WAYPOINTS)


def _actions(way: list[tuple[Step, Ego]]) -> NDArray[np.float32]:
    return np.array([(step.accel, step.curvature) for step, _ in way], dtype=np.float32)


def in_ego_frame(poses: list[Ego], origin: Ego) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(n, 3) positions in metres and (n, 3, 3) rotations of `poses` in the frame of `origin`."""
    c, s = cos(origin.heading), sin(origin.heading)
    x, y = np.array([pose.x for pose in poses]) - origin.x, np.array([pose.y for pose in poses]) - origin.y
    yaw = np.array([pose.heading for pose in poses]) - origin.heading
    xyz = np.stack([c * x + s * y, c * y - s * x, np.zeros(len(poses))], axis=1)
    rot = np.tile(np.eye(3), (len(poses), 1, 1))
    rot[:, 0, 0], rot[:, 0, 1], rot[:, 1, 0], rot[:, 1, 1] = np.cos(yaw), -np.sin(yaw), np.sin(yaw), np.cos(yaw)
    return xyz.astype(np.float32), rot.astype(np.float32)


def imagined(moment: Moment, situation: Situation) -> World:
    """The same road, with nothing on it but what a driver would have to believe to have that thought.

    Where the world does not say, a typical distance is taken: 25 m to a stop, 30 m to a closed lane, and so on.
    """
    if situation is moment.situation or {situation, moment.situation} <= _STANDING:  # one stop is as another
        return moment.world
    ego, world = moment.ego, moment.world
    lane_d = 0.0 if ego.d < LANE_M / 2 else LANE_M
    road = world.road
    events: list[Event] = []
    ahead = ego.front_s
    if situation in (Situation.CURVE_LEFT, Situation.CURVE_RIGHT):
        road = _bent(road, ego.s, 1 / 50 if situation is Situation.CURVE_LEFT else -1 / 50)
    elif situation in _STANDING:
        events = [TrafficLight(ahead + max(12.0, 2.2 * ego.speed), lane_d, green=False)]
    elif situation is Situation.SLOW_VEHICLE:
        events = [Vehicle(ahead + 18.0, lane_d, 4.0)]
    elif situation is Situation.FOLLOW_VEHICLE:
        events = [Vehicle(ahead + 2.0 + 1.3 * ego.speed, lane_d, min(ego.speed, 8.0))]
    elif situation in (Situation.CONES_RIGHT, Situation.CONES_LEFT):
        events = [Cones(ahead + 16.0, lane_d, on_the_right=situation is Situation.CONES_RIGHT)]
    elif situation is Situation.LANE_CLOSED_RIGHT:
        events = [LaneClosed(ahead + 34.0, 0.0)]
    elif situation is Situation.LANE_CLOSED_LEFT:
        events = [LaneClosed(ahead + 34.0, LANE_M)]
    elif situation is Situation.SPEED_BUMP:
        events = [SpeedBump(ahead + 20.0, lane_d)]
    return World(road, lane_d, events, [], [], world.dusk, world.asphalt)


_STANDING = {Situation.RED_LIGHT, Situation.STOP_SIGN, Situation.PEDESTRIAN, Situation.BROKEN_DOWN}


def _bent(road: Centreline, s: float, curvature: float) -> Centreline:
    """As `road` up to s, an arc from there on."""
    bent = road.curvature.copy()
    at = road.start_m + 0.5 * np.arange(len(bent))
    rise = np.clip((at - s) / 12.0, 0, 1)
    return road.with_curvature(bent * (1 - rise) + curvature * rise)


def _drive(random: Random, world: World, ego: Ego, steps: int) -> list[tuple[World, Ego, Step]]:
    """(world, car, what the driver does) at every step, with noise on what is really done."""
    unsteady = np.zeros(2)
    amount = np.array([0.25, 0.0035]) * random.uniform(0, 1.5)
    noise = random.normal(size=(steps, 2))
    trail: list[tuple[World, Ego, Step]] = []
    accel = 0.0
    for i in range(steps):
        step = decide(world, ego, accel)
        trail.append((world, ego, step))
        unsteady = 0.9 * unsteady + 0.44 * amount * noise[i]
        accel = max(step.accel + unsteady[0] * min(1.0, ego.speed), -ego.speed / DT_S)
        world = with_own_events(world)
        ego = advance(world, ego, accel, step.curvature + unsteady[1] * min(1.0, ego.speed / 3))
        for event in world.events:
            event.move()
            event.go_on(ego)
        for vehicle in world.traffic:
            vehicle.move()
    return trail


def _is(trail: list[tuple[World, Ego, Step]], i: int, situation: Situation) -> bool:
    around = trail[i - MARGIN_STEPS : i + MARGIN_STEPS + 1 : MARGIN_STEPS]
    return all(step.situation is situation for _, _, step in around)


def _pick(random: Random, found: list[int]) -> int:
    """More often when the situation has just come about: later, the ego history gives it away."""
    return found[int(random.integers(min(6, len(found))))] if random.random() < 0.5 else int(random.choice(found))


def _world(random: Random, situation: Situation, split: Split) -> tuple[World, Ego]:
    """A world in which the situation may come about, and a car at its beginning, not quite in the lane's middle."""
    hard = split is Split.HARD
    lane_d = LANE_M * float(random.integers(2))
    if situation in (Situation.LANE_CLOSED_LEFT, Situation.LANE_CLOSED_RIGHT):
        lane_d = LANE_M if situation is Situation.LANE_CLOSED_LEFT else 0.0
    speed = SET_SPEED_MPS * (random.uniform(1.0, 1.15) if hard else random.uniform(0.5, 1.02))
    curves = _gentle(random)
    events: list[Event] = []
    if situation in (Situation.CURVE_LEFT, Situation.CURVE_RIGHT):
        curves = [_curve(random, hard, 1 if situation is Situation.CURVE_LEFT else -1)]
        speed = SET_SPEED_MPS * random.uniform(0.5, 1.0)
    elif situation is Situation.KEEP_LANE:
        speed = SET_SPEED_MPS * random.uniform(0.85, 1.1 if hard else 1.03)
        if random.random() < 0.5:  # something further ahead than the driver minds, or behind it
            events = [_event(random, _DECOYS[int(random.integers(len(_DECOYS)))], lane_d, 75, 130, hard)]
    elif situation is Situation.SPEED_UP:
        speed = SET_SPEED_MPS * random.uniform(0, 0.7)
        if random.random() < 0.5:
            events = [_event(random, _DECOYS[int(random.integers(len(_DECOYS)))], lane_d, 25, 130, hard)]
    elif situation is Situation.SLOW_VEHICLE:
        events = [Vehicle(random.uniform(25, 60), lane_d, random.uniform(2, 3) if hard else random.uniform(3.5, 5))]
    elif situation is Situation.FOLLOW_VEHICLE:
        ahead = random.uniform(3.5, 5.0) if random.random() < 0.3 else random.uniform(6.5, 9.5)
        speed = max(0.0, ahead + random.uniform(-1.5, 0.5))
        events = [Vehicle(2.3 + 2 + 1.1 * speed + random.uniform(0, 12), lane_d, ahead)]
    elif situation in (Situation.GREEN_LIGHT, Situation.DRIVE_ON):
        near = random.random() < 0.5 or situation is Situation.DRIVE_ON
        speed = random.uniform(0, 4) if near else speed
        kind = Situation.STOP_SIGN if situation is Situation.DRIVE_ON else situation
        events = [_event(random, kind, lane_d, 8 if near else 40, 25 if near else 80, hard)]
    else:
        events = [_event(random, situation, lane_d, 45, 85, hard)]
    road = Centreline(curvature_profile(LENGTH_M, START_M, curves), START_M)
    world = World(road, lane_d, events, _traffic(random, lane_d, events), _scenery(random), *_light(random))
    return world, _beginner(random, road, lane_d, speed)


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


def _event(random: Random, situation: Situation, lane_d: float, from_s: float, to_s: float, hard: bool) -> Event:
    s = random.uniform(from_s, to_s)
    makers: dict[Situation, Callable[[], Event]] = {
        Situation.BROKEN_DOWN: lambda: Vehicle(s, lane_d, 0.0, (0.75, 0.75, 0.72)),
        Situation.RED_LIGHT: lambda: TrafficLight(s, lane_d, green=False),
        Situation.GREEN_LIGHT: lambda: TrafficLight(s, lane_d, green=True),
        Situation.STOP_SIGN: lambda: StopSign(s, lane_d),
        Situation.PEDESTRIAN: lambda: Crossing(s, lane_d, walking_mps=1.1 if hard else random.uniform(0.6, 0.9)),
        Situation.CONES_RIGHT: lambda: Cones(s, lane_d, on_the_right=True),
        Situation.CONES_LEFT: lambda: Cones(s, lane_d, on_the_right=False),
        Situation.LANE_CLOSED_RIGHT: lambda: LaneClosed(s, lane_d),
        Situation.LANE_CLOSED_LEFT: lambda: LaneClosed(s, lane_d),
        Situation.SPEED_BUMP: lambda: SpeedBump(s, lane_d),
    }
    return makers[situation]()


def _curve(random: Random, hard: bool, side: int) -> tuple[float, float, float]:
    """(from_s, to_s, curvature)."""
    radius = random.uniform(28, 38) if hard else random.uniform(40, 110)
    begin = random.uniform(20, 70)
    return begin, begin + max(30.0, radius * random.uniform(0.6, 1.3)), side / radius


def _gentle(random: Random) -> list[tuple[float, float, float]]:
    """A road that is not quite straight."""
    begin = random.uniform(-30, 80)
    return [(begin, begin + random.uniform(40, 150), random.uniform(-1, 1) / 300)] if random.random() < 0.5 else []


def _traffic(random: Random, lane_d: float, events: list[Event]) -> list[Vehicle]:
    if random.random() < 0.6 or any(isinstance(event, LaneClosed | TrafficLight | StopSign | Crossing) for event in events):
        return []
    return [Vehicle(random.uniform(-5, 60), LANE_M - lane_d, random.uniform(7, 12), _colour(random))]


def _scenery(random: Random) -> list[Scenery]:
    boxes, s = [], START_M
    while s < LENGTH_M:
        s += random.uniform(6, 25)
        side = float(random.choice((-1, 1)))
        d = LANE_M / 2 + side * random.uniform(10, 18)
        if random.random() < 0.5:  # a tree
            boxes.append(Scenery(s, d, 2.0, 2.0, random.uniform(3, 7), (0.15, random.uniform(0.25, 0.4), 0.12)))
        else:
            boxes.append(Scenery(s, d + side * 4, random.uniform(6, 14), 8.0, random.uniform(3, 9), _colour(random)))
    return boxes


def _colour(random: Random) -> tuple[float, float, float]:
    red, green, blue = random.uniform(0.25, 0.75, size=3)
    return red, green, blue


def _light(random: Random) -> tuple[float, float]:
    """(dusk, asphalt)."""
    return float(random.choice((0.0, 0.0, random.uniform(0.3, 1.0)))), random.uniform(0.8, 1.25)


def _beginner(random: Random, road: Centreline, lane_d: float, speed: float) -> Ego:
    d = lane_d + float(np.clip(random.normal() * 0.25, -0.6, 0.6))
    x, y = road.to_world(0.0, d)
    heading = road.point(0.0)[2] + float(np.clip(random.normal() * 0.02, -0.05, 0.05))
    return Ego(float(x), float(y), heading, speed, 0.0, d)
