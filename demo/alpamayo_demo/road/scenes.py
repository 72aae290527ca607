"""Driving scenes from seeds: what the model is trained and judged on. The same seed is the same scene everywhere, with
the numpy that `constraints.txt` pins.
"""

from dataclasses import dataclass
from enum import IntEnum
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from .cameras import FRONT_TELE, FRONT_WIDE, Camera
from .driver import STANDSTILL_GAP_M, Step, advance, decide, plan, world_after
from .ego import DT_S, Ego
from .events import STANDING_MPS
from .render import render
from .routes import long_road
from .situations import Situation
from .world import World
from .worlds import world_for

Array = NDArray[np.float64]
Random = np.random.Generator

MODEL_CAMERAS: tuple[Camera, ...] = (FRONT_WIDE, FRONT_TELE)
FRAME_STEPS = (5, 0)  # frames at t0 - 0.5 s and at t0
FRAME_OFFSETS_MS = tuple(-back * DT_S * 1000 for back in FRAME_STEPS)
HISTORY_POSES, WAYPOINTS = 16, 64
MARGIN_STEPS = 5  # the driver is of one mind from 0.5 s before t0 (unless it stands) to 0.5 s after it
STEPS, LONG_ROAD_STEPS = 130, 500  # that are driven
ON_LONG_ROADS = 1 / 3  # of the training scenes


class Split(IntEnum):
    """No two splits share a scene: their number is part of the seed."""

    TRAIN = 0
    HELD_OUT = 1
    HARD = 2
    """Tighter curves, slower vehicles ahead and quicker pedestrians than in TRAIN and HELD_OUT, and drives that begin
    above the driver's set speed, where the situation leaves that open.
    """


@dataclass(frozen=True)
class Habits:
    """What a driver does otherwise than the driver of `road.driver`. A drive draws how much of each."""

    aside_m: float = 0.0
    """Wanders from side to side over seconds by a standard deviation of at most this."""
    uneven_mps2: float = 0.25
    """The noise on its acceleration has a standard deviation of at most 1.5 times this."""
    unsteady_1pm: float = 0.0035
    """As `uneven_mps2`, of the noise on its curvature."""
    standstill_gap_m: float = STANDSTILL_GAP_M
    """Stops this far before what it stops for."""


@dataclass(frozen=True)
class Moment:
    """The world at t0, and how the car came there."""

    world: World
    past: list[tuple[World, Ego]]
    """16 poses, the last is at t0, each with the world as it was."""
    last_accel: float
    """What the driver wanted a step before, in m/s2, whatever its unsteady foot made of that: it does not jerk against
    this.
    """
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
    """A world with that situation in it, driven by the driver with unsteady hands up to some moment of it.

    In TRAIN it is inattentive too, stops where it likes, and some of the roads are long: who drives in closed loop
    has to find the way back from where a driver would not have come, and goes from one thing to the next.
    """
    random = np.random.default_rng([int(split), seed, list(Situation).index(situation)])
    while True:  # a world in which the situation does not come about is thrown away
        if split is Split.TRAIN and random.random() < ON_LONG_ROADS:
            world, ego = long_road(random, situation)
            trail = _drive(random, world, ego, LONG_ROAD_STEPS, _inattentive(random))
        else:
            world, ego = world_for(random, situation, split is Split.HARD)
            trail = _drive(random, world, ego, STEPS, _inattentive(random) if split is Split.TRAIN else Habits())
        found = [i for i in range(HISTORY_POSES + MARGIN_STEPS, len(trail) - MARGIN_STEPS) if _is(trail, i, situation)]
        if found:
            i = _pick(random, found, {i for i in found if trail[i][1].speed < STANDING_MPS})
            past = [(world, ego) for world, ego, _ in trail[i - HISTORY_POSES + 1 : i + 1]]
            return Moment(past[-1][0], past, trail[i - 1][2].accel, situation)


def observe(moment: Moment) -> DrivingScene:
    """What the cameras and the odometry give at that moment, and what the driver does next."""
    way = foreseen(moment, moment.world)
    frames = [[render(*moment.past[-1 - back], camera) for back in FRAME_STEPS] for camera in MODEL_CAMERAS]
    xyz, rot = in_ego_frame([ego for _, ego in moment.past], moment.ego)
    return DrivingScene(
        image_frames=np.array(frames),
        ego_history_xyz=xyz,
        ego_history_rot=rot,
        ego_future_xyz=in_ego_frame([ego for _, ego in way], moment.ego)[0],
        action=actions_of(way),
        situation=moment.situation,
    )


def foreseen(moment: Moment, world: World) -> list[tuple[Step, Ego]]:
    """What the driver does from that moment on, were it in that world."""
    return plan(world, moment.ego, moment.last_accel, WAYPOINTS)


def actions_of(way: list[tuple[Step, Ego]]) -> NDArray[np.float32]:
    """(n, 2): acceleration in m/s2, curvature in 1/m."""
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


def _inattentive(random: Random) -> Habits:
    return Habits(aside_m=0.8, uneven_mps2=0.6, standstill_gap_m=random.uniform(1.5, 4.5))


def _drive(random: Random, world: World, ego: Ego, steps: int, habits: Habits) -> list[tuple[World, Ego, Step]]:
    """(world, car, what the driver wants to do) at every step, with noise on what is really done."""
    wandering = random.uniform(0, habits.aside_m)
    aside = wandering * random.normal()
    wander = wandering * random.normal(size=steps)
    unsteady = np.zeros(2)
    amount = np.array([habits.uneven_mps2, habits.unsteady_1pm]) * random.uniform(0, 1.5)
    noise = random.normal(size=(steps, 2))
    trail: list[tuple[World, Ego, Step]] = []
    accel = 0.0
    for i in range(steps):
        step = decide(world, ego, accel, aside, habits.standstill_gap_m)
        aside = 0.98 * aside + 0.2 * wander[i]
        trail.append((world, ego, step))
        unsteady = 0.9 * unsteady + 0.44 * amount * noise[i]
        accel = max(step.accel + unsteady[0] * min(1.0, ego.speed), -ego.speed / DT_S)
        ego = advance(world, ego, accel, step.curvature + unsteady[1] * min(1.0, ego.speed / 3))
        world = world_after(world, ego)
    return trail


def _is(trail: list[tuple[World, Ego, Step]], i: int, situation: Situation) -> bool:
    stands = trail[i][1].speed < STANDING_MPS  # what held it may have ended this moment
    around = trail[i if stands else i - MARGIN_STEPS : i + MARGIN_STEPS + 1 : MARGIN_STEPS]
    return all(step.situation is situation for _, _, step in around)


def _pick(random: Random, found: list[int], standing: set[int]) -> int:
    """More often when the situation has just come about, for later the ego history gives it away, and when the car
    stands, for that is soon over.
    """
    earlier = set(found)
    fresh = [i for i in found if i - 6 not in earlier]
    chance = random.random()
    if standing and chance > 0.8:
        return int(random.choice(sorted(standing)))
    return int(random.choice(fresh if chance < 0.5 else found))
