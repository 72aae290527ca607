"""The worlds that thoughts are about: what the driver would do who believes to be in a situation."""

import numpy as np
from numpy.typing import NDArray

from .centreline import STEP_M, TRANSITION_M, Centreline
from .events import LEFT_LANE_D, RIGHT_LANE_D, Cones, Event, LaneClosed, SpeedBump, TrafficLight, Vehicle
from .scenes import Moment, actions_of, foreseen, in_ego_frame
from .situations import Situation
from .world import World


def imagined_action(moment: Moment, situation: Situation) -> NDArray[np.float32]:
    """(64, 2): what the driver would do who believes to be in that situation."""
    return actions_of(foreseen(moment, imagined(moment, situation)))


def imagined_future(moment: Moment, situation: Situation) -> NDArray[np.float32]:
    """(64, 3) metres in the ego frame at t0: where that would lead."""
    way = foreseen(moment, imagined(moment, situation))
    return in_ego_frame([ego for _, ego in way], moment.ego)[0]


def imagined(moment: Moment, situation: Situation) -> World:
    """The same road, with nothing on it but what a driver would have to believe to have that thought.

    Where the world does not say, a distance is taken at which the driver would have that thought.
    """
    if situation is moment.situation or {situation, moment.situation} <= _STANDING:  # one stop is as another
        return moment.world
    ego, world = moment.ego, moment.world
    lane_d = RIGHT_LANE_D if ego.d < 0 else LEFT_LANE_D
    road = world.road
    events: list[Event] = []
    ahead = ego.front_s
    if situation in (Situation.CURVE_LEFT, Situation.CURVE_RIGHT):
        road = _bent(road, ego.s + 8.0, 1 / 75 if situation is Situation.CURVE_LEFT else -1 / 75)
    elif situation in _STANDING:
        events = [TrafficLight(ahead + max(12.0, 2.2 * ego.speed), lane_d, green=False)]
    elif situation is Situation.SLOW_VEHICLE:
        events = [Vehicle(ahead + 18.0, lane_d, 4.0)]
    elif situation is Situation.FOLLOW_VEHICLE:
        events = [Vehicle(ahead + 2.0 + 1.3 * ego.speed, lane_d, min(ego.speed, 8.0))]
    elif situation in (Situation.CONES_RIGHT, Situation.CONES_LEFT):
        events = [Cones(ahead + 16.0, lane_d, on_the_right=situation is Situation.CONES_RIGHT)]
    elif (situation, lane_d) in _CLOSED:  # in the other lane, it is done already
        events = [LaneClosed(ahead + 34.0, lane_d)]
    elif situation is Situation.SPEED_BUMP:
        events = [SpeedBump(ahead + 20.0, lane_d)]
    return World(road, lane_d, events, [], [], world.dusk, world.asphalt)


_CLOSED = {(Situation.LANE_CLOSED_RIGHT, RIGHT_LANE_D), (Situation.LANE_CLOSED_LEFT, LEFT_LANE_D)}
_STANDING = {Situation.RED_LIGHT, Situation.STOP_SIGN, Situation.PEDESTRIAN, Situation.BROKEN_DOWN}


def _bent(road: Centreline, s: float, curvature: float) -> Centreline:
    """As `road` up to s, an arc from there on."""
    bent = road.curvature.copy()
    at = road.start_m + STEP_M * np.arange(len(bent))
    rise = np.clip((at - s) / TRANSITION_M, 0, 1)
    return road.with_curvature(bent * (1 - rise) + curvature * rise)
