"""Limits that the scripted driver keeps, in the scenes that the model learns from and is judged on."""

from dataclasses import replace

import numpy as np
import pytest
from alpamayo_demo.drive.outline import touched
from alpamayo_demo.road.driver import (
    ACCEL_LIMITS_MPS2,
    JERK_LIMIT_MPS3,
    LATERAL_MPS2,
    SET_SPEED_MPS,
    decide,
    plan,
    with_own_events,
)
from alpamayo_demo.road.ego import DT_S, WIDTH_M, Ego
from alpamayo_demo.road.events import (
    AT_THE_LINE_M,
    BUMP_MPS,
    LANE_M,
    RIGHT_LANE_D,
    STANDING_MPS,
    Cones,
    Crossing,
    SpeedBump,
    StopSign,
    TrafficLight,
    Vehicle,
)
from alpamayo_demo.road.scenes import Moment, Split, moment
from alpamayo_demo.road.situations import Situation
from alpamayo_demo.road.solids import LEFT_EDGE_D, RIGHT_EDGE_D
from alpamayo_demo.road.world import World
from worlds_by_hand import car, straight

SEEDS = range(4)
ROUNDING = 1e-9
OFF_PATH_M = LANE_M / 2 - WIDTH_M / 2  # further, and a side of the car is in the other lane
MAX_CURVATURE_1PM = 0.12
STOPS = (Situation.RED_LIGHT, Situation.STOP_SIGN, Situation.PEDESTRIAN, Situation.BROKEN_DOWN)


def on_road(ego: Ego) -> bool:
    """All of the car, if it goes along the road."""
    return RIGHT_EDGE_D <= ego.d - WIDTH_M / 2 and ego.d + WIDTH_M / 2 <= LEFT_EDGE_D


def way_of(found: Moment) -> list[tuple[World, Ego]]:
    """The 6.4 s after t0, each with the world that the driver foresees."""
    world, steps = with_own_events(found.world), plan(found.world, found.ego, found.last_accel, 64)
    way = []
    for _, ego in steps:
        for event in world.events:
            event.move()
        way.append((with_own_events(world), ego))
    return way


@pytest.mark.parametrize("situation", Situation, ids=lambda situation: situation.name)
@pytest.mark.parametrize("split", [Split.HELD_OUT, Split.HARD], ids=lambda split: split.name)
def test_its_future_keeps_the_lane_the_limits_and_its_distance(split, situation):
    for seed in SEEDS:
        found = moment(split, seed, situation)
        if isinstance(touched(found.world, found.ego), Cones):  # unsteady hands have led it there before t0
            assert (split, seed, situation) == (Split.HELD_OUT, 1, Situation.CONES_LEFT)
            continue
        steps = [step for step, _ in plan(found.world, found.ego, found.last_accel, 64)]
        way = way_of(found)
        accel, curvature = np.array([(step.accel, step.curvature) for step in steps]).T
        speed = np.array([ego.speed for _, ego in way])
        assert all(abs(ego.d - world.path_d(ego.s)) < OFF_PATH_M and on_road(ego) for world, ego in way), seed
        assert not any(touched(world, ego) for world, ego in way), seed
        assert accel.min() >= ACCEL_LIMITS_MPS2[0] - ROUNDING, seed
        assert accel.max() <= ACCEL_LIMITS_MPS2[1] + ROUNDING, seed
        standing = np.concatenate([[found.ego.speed], speed[:-1]]) < -DT_S * ACCEL_LIMITS_MPS2[0]
        jerk = np.abs(np.diff(accel)) / DT_S
        assert jerk[~standing[1:]].max(initial=0) <= JERK_LIMIT_MPS3 + ROUNDING, seed
        assert speed.min() >= -ROUNDING, seed
        assert np.abs(curvature).max() < MAX_CURVATURE_1PM, seed


@pytest.mark.parametrize("situation", STOPS, ids=lambda situation: situation.name)
def test_it_stops_before_what_it_stops_for(situation):
    for seed in SEEDS:
        found = moment(Split.HELD_OUT, seed, situation)
        event = found.world.events[0]
        way = [ego for _, ego in plan(found.world, found.ego, found.last_accel, 150)]
        gaps = np.array([event.s - ego.front_s for ego in way])
        assert gaps.min() > 0, seed
        assert way[-1].speed < STANDING_MPS, seed
        assert gaps[-1] < 6.0, seed


@pytest.mark.parametrize(
    "event",
    [
        TrafficLight(40.0, RIGHT_LANE_D, green=False),
        StopSign(40.0, RIGHT_LANE_D),
        Crossing(40.0, RIGHT_LANE_D, -5.0, 0.8),
        Vehicle(40.0, RIGHT_LANE_D, 0.0),
    ],
)
def test_it_stops_from_its_set_speed_within_its_reach(event):
    way = [ego for _, ego in plan(straight(event), car(speed=SET_SPEED_MPS), 0.0, 150)]
    assert 0 < 40.0 - way[-1].front_s < 6.0
    assert way[-1].speed < STANDING_MPS


@pytest.mark.parametrize("gap", [AT_THE_LINE_M - 0.1, AT_THE_LINE_M + 1.0])
def test_who_stands_near_the_line_stays_there_and_who_stands_further_off_comes_closer(gap):
    ego = car(speed=0.0)
    way = plan(straight(TrafficLight(ego.front_s + gap, RIGHT_LANE_D, green=False)), ego, 0.0, 64)
    left = gap - (way[-1][1].front_s - ego.front_s)
    assert left == gap if gap < AT_THE_LINE_M else left < AT_THE_LINE_M


def test_it_is_slow_on_a_bump():
    way = [ego for _, ego in plan(straight(SpeedBump(40.0, RIGHT_LANE_D)), car(speed=SET_SPEED_MPS), 0.0, 150)]
    on_it = [ego.speed for ego in way if 40.0 < ego.front_s < 44.0]
    assert on_it
    assert max(on_it) < BUMP_MPS + 1.0
    assert min(on_it) < BUMP_MPS + 0.2
    assert way[-1].speed > 0.9 * SET_SPEED_MPS


def test_it_follows_at_the_other_cars_speed_and_does_not_come_near():
    world = straight(Vehicle(30.0, RIGHT_LANE_D, 5.0))
    steps = plan(world, car(speed=SET_SPEED_MPS), 0.0, 150)
    gaps = [30.0 + 5.0 * DT_S * i - ego.front_s for i, (_, ego) in enumerate(steps)]
    assert min(gaps) > 3.0
    assert steps[-1][1].speed == pytest.approx(5.0, abs=0.3)


def test_it_goes_through_a_green_light_at_speed():
    way = [ego for _, ego in plan(straight(TrafficLight(40.0, RIGHT_LANE_D, green=True)), car(speed=10.0), 0.0, 100)]
    assert min(ego.speed for ego in way) >= 10.0


def test_its_lateral_acceleration_is_comfortable():
    for situation in (Situation.CURVE_LEFT, Situation.CURVE_RIGHT):
        for seed in SEEDS:
            found = moment(Split.HELD_OUT, seed, situation)
            steps = plan(found.world, found.ego, found.last_accel, 64)
            lateral = [abs(step.curvature) * ego.speed**2 for step, ego in steps]
            assert max(lateral) < 1.6 * LATERAL_MPS2


def test_planning_leaves_the_world_as_it_was():
    world = straight(Vehicle(30.0, RIGHT_LANE_D, 5.0))
    before = replace(world.events[0])
    plan(world, car(), 0.0, 20)
    assert world.events == [before]


def test_what_demands_the_most_is_the_situation():
    near, far = TrafficLight(20.0, RIGHT_LANE_D, green=False), Vehicle(38.0, RIGHT_LANE_D, 8.0)
    assert decide(straight(near, far), car(), 0.0).situation is Situation.RED_LIGHT
    assert decide(straight(), car(), 0.0).situation is Situation.KEEP_LANE
    assert decide(straight(), car(speed=3.0), 0.0).situation is Situation.SPEED_UP
