from itertools import pairwise

import numpy as np
import pytest
from alpamayo_demo.road.centreline import STEP_M
from alpamayo_demo.road.events import (
    REACH_M,
    Cones,
    Crossing,
    LaneClosed,
    LeavingVehicle,
    SpeedBump,
    StopSign,
    TrafficLight,
    Vehicle,
)
from alpamayo_demo.road.routes import FREE_M, LAST_M, SEED_SPACE, long_road, route
from alpamayo_demo.road.scenes import Split
from alpamayo_demo.road.situations import Situation
from alpamayo_demo.road.world import World
from alpamayo_demo.train import practice

SEEDS = range(60)


def demands(world: World) -> list[tuple[float, float]]:
    """(from_s, to_s) of what there is to mind, in order of the road; a vehicle that leaves is elsewhere by then."""
    spans = [
        (event.s, event.s + (event.LENGTH if isinstance(event, Cones) else 0.0))
        for event in world.events
        if not isinstance(event, LeavingVehicle)
    ]
    bent = np.flatnonzero(np.diff(np.concatenate([[0], np.abs(world.road.curvature) > 1e-9, [0]]).astype(int)))
    edges = world.road.start_m + STEP_M * bent
    return sorted([*spans, *zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)])


@pytest.mark.parametrize("seed", SEEDS)
def test_only_one_thing_at_a_time_is_to_be_minded(seed):
    world, ego = route(seed)
    found = demands(world)
    assert 3 <= len(found) + isinstance(world.events[0], LeavingVehicle) <= 5
    assert all(after - before >= FREE_M[0] - 1.0 for (_, before), (after, _) in pairwise(found))
    assert found[0][0] - ego.front_s > REACH_M


@pytest.mark.parametrize("seed", SEEDS)
def test_a_broken_down_vehicle_ends_the_road_and_everything_is_in_the_cars_lane(seed):
    world, _ = route(seed)
    last = world.events[-1]
    assert isinstance(last, Vehicle)
    assert last.speed == 0
    assert LAST_M <= last.s < world.road.end_m - 100
    for event in world.events:
        before = [
            other.offset_m(event.s) for other in world.events if isinstance(other, LaneClosed) and other is not event
        ]
        assert event.d == pytest.approx(world.lane_d + sum(before))


def test_routes_differ_and_are_the_same_for_the_same_seed():
    assert len({repr(route(seed)[0].events) for seed in SEEDS}) == len(SEEDS)
    assert repr(route(5)[0].events) == repr(route(5)[0].events)
    np.testing.assert_array_equal(route(5)[0].road.xy, route(5)[0].road.xy)
    assert route(5)[1] == route(5)[1]


def test_routes_have_seeds_of_their_own():
    assert len({*Split, SEED_SPACE, practice.SEED_SPACE}) == len(Split) + 2


def test_a_vehicle_that_leaves_meets_no_line_and_no_barrier():
    for seed in SEEDS:
        events = route(seed)[0].events
        if isinstance(events[0], LeavingVehicle):
            lights = [event for event in events if isinstance(event, TrafficLight)]
            assert not any(isinstance(event, LaneClosed) for event in events)
            assert all(light.green for light in lights)


@pytest.mark.parametrize(
    ("situation", "has"),
    [
        (Situation.CURVE_LEFT, lambda world: world.road.curvature.max() > 1 / 120),
        (Situation.CURVE_RIGHT, lambda world: world.road.curvature.min() < -1 / 120),
        (Situation.SLOW_VEHICLE, lambda world: isinstance(world.events[0], LeavingVehicle)),
        (Situation.FOLLOW_VEHICLE, lambda world: isinstance(world.events[0], LeavingVehicle)),
        (Situation.RED_LIGHT, lambda world: any(isinstance(it, TrafficLight) and not it.green for it in world.events)),
        (Situation.GREEN_LIGHT, lambda world: any(isinstance(it, TrafficLight) and it.green for it in world.events)),
        (Situation.STOP_SIGN, lambda world: any(isinstance(it, StopSign) for it in world.events)),
        (Situation.DRIVE_ON, lambda world: any(isinstance(it, StopSign) for it in world.events)),
        (Situation.PEDESTRIAN, lambda world: any(isinstance(it, Crossing) for it in world.events)),
        (Situation.CONES_LEFT, lambda world: any(isinstance(it, Cones) and not it.on_the_right for it in world.events)),
        (Situation.CONES_RIGHT, lambda world: any(isinstance(it, Cones) and it.on_the_right for it in world.events)),
        (Situation.LANE_CLOSED_LEFT, lambda world: any(isinstance(it, LaneClosed) for it in world.events)),
        (Situation.LANE_CLOSED_RIGHT, lambda world: any(isinstance(it, LaneClosed) for it in world.events)),
        (Situation.SPEED_BUMP, lambda world: any(isinstance(it, SpeedBump) for it in world.events)),
    ],
    ids=lambda it: it.name if isinstance(it, Situation) else "",
)
def test_a_long_road_can_be_made_for_a_situation(situation, has):
    """The three others come about on every road: at its beginning, after a stop, at its end."""
    random = np.random.default_rng(0)
    roads = [long_road(random, situation)[0] for _ in range(20)]
    assert np.mean([has(road) for road in roads]) >= 0.9  # two long curves may leave no room for it
    assert not all(has(route(seed)[0]) for seed in range(20))
    assert len({len(demands(road)) for road in roads}) > 1
