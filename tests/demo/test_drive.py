"""The closed loop, with planners that need no server."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from alpamayo_demo.drive import planners
from alpamayo_demo.drive.cli import main
from alpamayo_demo.drive.loop import PLAN_STEPS, Plan, Planner, Tick, drive
from alpamayo_demo.drive.rules import judge
from alpamayo_demo.drive.table import summary
from alpamayo_demo.road.ego import DT_S, LENGTH_M, moved
from alpamayo_demo.road.events import (
    LANE_M,
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
from alpamayo_demo.road.routes import route
from alpamayo_demo.road.scenes import HISTORY_POSES, Moment
from worlds_by_hand import car, straight

ROOT = Path(__file__).resolve().parents[2]
RESULT = json.loads((ROOT / "benchmarks" / "results" / "closed_loop_demo.json").read_text())
PUBLISHED = [route["seed"] for route in RESULT["routes"]]


def planner_of(accel: float, curvature: float) -> Planner:
    action = np.tile(np.array([accel, curvature], np.float32), (64, 1))
    return lambda moment: Plan("", np.zeros((64, 3), np.float32), action)


def faults_of(ticks: list[Tick]) -> list[str]:
    """But for how far it came."""
    return judge(ticks, ticks).faults


def drive_past(event: Event, d: float = RIGHT_LANE_D) -> list[str]:
    """The faults of a car that takes no notice."""
    return faults_of(drive(straight(event, lane_d=d), car(d=d, speed=10.0), planner_of(0.0, 0.0), 6.0))


@pytest.mark.parametrize("seed", PUBLISHED)
def test_the_scripted_driver_drives_routes_without_fault(seed):
    ticks = drive(*route(seed), planners.driver, 20.0)
    outcome = judge(ticks, ticks)
    assert outcome.faults == []
    assert outcome.max_off_middle_m < 0.6


def test_every_step_is_the_served_unicycles_and_plans_come_every_half_second():
    ticks = drive(*route(6), planners.driver, 3.0)
    assert len(ticks) == 31
    for i, (tick, after) in enumerate(pairwise(ticks)):
        assert tick.planned_at is ticks[i - i % PLAN_STEPS].ego
        accel, curvature = tick.plan.action[i % PLAN_STEPS].tolist()
        ego = tick.ego
        wanted = moved(ego.x, ego.y, ego.heading, ego.speed, accel, curvature)
        np.testing.assert_allclose((after.ego.x, after.ego.y, after.ego.heading, after.ego.speed), wanted, atol=1e-9)


def test_a_planner_sees_what_was_driven():
    seen: list[Moment] = []

    def watching(moment: Moment) -> Plan:
        seen.append(moment)
        return planner_of(-1.0, 0.0)(moment)

    ticks = drive(straight(), car(speed=8.0), watching, 2.0)
    assert [len(moment.past) for moment in seen] == [HISTORY_POSES] * 4
    assert [moment.ego for moment in seen] == [ticks[i].ego for i in (0, 5, 10, 15)]
    assert [ego for _, ego in seen[-1].past[-16:]] == [tick.ego for tick in ticks[:16]]
    assert [moment.last_accel for moment in seen[1:]] == [-1.0] * 3


def test_the_car_stops_and_does_not_roll_back():
    ticks = drive(straight(), car(speed=2.0), planner_of(-5.0, 0.0), 5.0)
    assert min(tick.ego.speed for tick in ticks) == pytest.approx(0.0, abs=1e-12)
    assert ticks[-1].ego.s == pytest.approx(ticks[-2].ego.s)


def test_what_happens_goes_on():
    ticks = drive(straight(Vehicle(60.0, RIGHT_LANE_D, 5.0)), car(speed=8.0), planner_of(0.0, 0.0), 3.0)
    assert ticks[-1].world.events[0].s - ticks[0].world.events[0].s == pytest.approx(15.0)
    light = straight(TrafficLight(30.0, RIGHT_LANE_D, green=False))
    waited = drive(light, car(speed=5.0), planners.driver, 20.0)
    assert [waited[0].world.events[0].green, waited[-1].world.events[0].green] == [False, True]
    assert faults_of(waited) == []
    assert waited[-1].ego.s > 40.0


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        (TrafficLight(60.0, RIGHT_LANE_D, green=False), "ran the red light"),
        (StopSign(60.0, RIGHT_LANE_D), "ran the stop sign"),
        (Vehicle(60.0, RIGHT_LANE_D, 0.0), "hit a vehicle"),
        (Crossing(60.0, LEFT_LANE_D, -5.0, 0.8), "did not wait for the pedestrian"),  # who is still far away
        (Crossing(60.0, RIGHT_LANE_D, 5.0, -0.8), "did not wait for the pedestrian"),
        (SpeedBump(60.0, RIGHT_LANE_D), "took the speed bump too fast"),
    ],
)
def test_taking_no_notice_is_a_fault(event, fault):
    (found,) = drive_past(event, event.d)
    assert found.startswith(f"{fault} after ")
    assert 3.0 < float(found.split()[-2]) < 6.0


def test_a_speed_bump_may_be_taken_slowly():
    way = drive(straight(SpeedBump(30.0, RIGHT_LANE_D)), car(speed=3.0), planner_of(0.0, 0.0), 6.0)
    assert way[-1].ego.front_s > 31.0
    assert faults_of(way) == []


def test_a_green_light_may_be_passed():
    assert drive_past(TrafficLight(60.0, RIGHT_LANE_D, green=True)) == []


def test_who_has_been_waited_for_is_no_fault():
    assert drive_past(Crossing(60.0, RIGHT_LANE_D, RIGHT_LANE_D + 2.7, 0.8)) == []
    assert drive_past(Crossing(60.0, LEFT_LANE_D, LEFT_LANE_D - 2.7, -0.8), LEFT_LANE_D) == []


def test_a_stop_at_a_stop_sign_lasts_a_second_and_a_half_in_one_go():
    at_the_line, on_its_way = car(s=60.0 - LENGTH_M / 2 - 2.0, speed=0.0), car(s=55.0, speed=2.0)
    for stops, wanted in (
        ((14,), ["ran the stop sign"]),
        ((10, 10), ["ran the stop sign"]),
        ((15,), []),
        ((3, 15), []),
    ):
        sign = StopSign(60.0, RIGHT_LANE_D)
        for steps in stops:
            for ego in [*steps * [at_the_line], on_its_way]:
                sign.go_on(ego)
        assert [it.partition(" after")[0] for it in drive_past(sign)] == wanted


def test_stopping_far_from_a_line_is_not_stopping_at_it():
    for gap, counts in ((2.5, True), (8.0, False)):
        sign, light = StopSign(60.0, RIGHT_LANE_D), TrafficLight(60.0, RIGHT_LANE_D, green=False)
        for _ in range(30):
            sign.go_on(car(s=60.0 - LENGTH_M / 2 - gap, speed=0.0))
            light.go_on(car(s=60.0 - LENGTH_M / 2 - gap, speed=0.0))
        assert (sign.done, light.green) == (counts, counts)


def test_staying_behind_is_a_fault():
    own = drive(straight(), car(speed=10.0), planners.driver, 6.0)
    for accel, faults in ((-1.0, []), (-2.0, ["stayed behind"])):  # 70 % and 42 % of 60 m, about
        assert judge(drive(straight(), car(speed=10.0), planner_of(accel, 0.0), 6.0), own).faults == faults


@pytest.mark.parametrize(
    ("at", "faults"), [(30.0, ["stood for nothing after 5.0 s"]), (55.0, []), (None, ["stood for nothing after 5.0 s"])]
)
def test_standing_where_the_driver_would_set_off_is_a_fault(at, faults):
    """A red light at 60 m, and a car that never moves: far from it, at it, or with no light at all."""
    events = [] if at is None else [TrafficLight(60.0, RIGHT_LANE_D, green=False)]
    ego = car(s=(at or 30.0) - LENGTH_M / 2, speed=0.0)
    tick = drive(straight(*events), car(), planners.driver, 0.1)[0]
    standing = replace(tick, world=straight(*events), ego=ego)
    assert faults_of(50 * [standing]) == []
    assert faults_of(70 * [standing]) == faults


def test_leaving_the_road_is_a_fault_and_when():
    fault, *more = faults_of(drive(straight(), car(speed=10.0), planner_of(0.0, -0.01), 4.0))
    assert [it.partition(" after")[0] for it in more] == ["left its lane"]  # its right edge is the road's
    assert fault.startswith("left the road after ")
    # Half the car's width is 0.95 m, the road's edge 1.75 m from the lane's middle: v^2 k t^2 / 2 = 0.8 m at 1.3 s,
    # and sooner because its front turns out first.
    assert 0.7 < float(fault.split()[-2]) < 1.4


@pytest.mark.parametrize(
    ("event", "d", "stays"),
    [
        (None, 0.75, True),  # its left side is then 1.7 m from the lane's middle, and the lane's edge 1.75 m
        (None, 0.85, False),
        (None, LANE_M, False),
        (Cones(40.0, RIGHT_LANE_D, on_the_right=True), 0.75, True),  # the path leads to the left here, inside the lane
        (Cones(40.0, RIGHT_LANE_D, on_the_right=True), 0.85, False),
        (LaneClosed(70.0, RIGHT_LANE_D), 1.5, True),
        (LaneClosed(70.0, RIGHT_LANE_D), LANE_M + 0.75, True),
        (LaneClosed(15.0, RIGHT_LANE_D), 1.5, False),  # it should have changed lanes by now
        (LaneClosed(15.0, RIGHT_LANE_D), LANE_M, True),
    ],
)
def test_leaving_the_lane_with_a_side_is_a_fault(event, d, stays):
    """`d`: metres to the left of the right lane's middle."""
    tick = drive(straight(*([event] if event else [])), car(speed=10.0), planners.driver, 0.1)[0]
    aside = replace(tick, ego=car(s=45.0, d=RIGHT_LANE_D + d))
    assert faults_of([aside]) == ([] if stays else ["left its lane after 0.0 s"])


def test_deviation_is_from_the_lanes_middle():
    ticks = drive(straight(), car(speed=10.0), planners.driver, 2.0)
    aside = [
        replace(tick, ego=replace(tick.ego, d=RIGHT_LANE_D + (0.5 if i else -0.1))) for i, tick in enumerate(ticks)
    ]
    outcome = judge(aside, ticks)
    assert outcome.max_off_middle_m == pytest.approx(0.5)
    assert outcome.mean_off_middle_m == pytest.approx((0.1 + 0.5 * (len(ticks) - 1)) / len(ticks))
    assert outcome.driven_m == pytest.approx(ticks[-1].ego.s - ticks[0].ego.s)


def test_what_passengers_feel_is_what_was_driven():
    ticks = drive(straight(), car(speed=8.0), planner_of(-1.5, 0.004), 2.0)
    outcome = judge(ticks, ticks)
    assert outcome.max_acceleration_mps2 == pytest.approx(1.5)
    assert outcome.max_lateral_acceleration_mps2 == pytest.approx(0.004 * ticks[0].ego.speed ** 2, rel=0.05)


def test_traffic_in_the_other_lane_moves_and_can_be_hit():
    world = replace(
        straight(lane_d=LEFT_LANE_D), traffic=[Vehicle(30.0, LEFT_LANE_D, 4.0)]
    )  # which the driver does not mind
    ticks = drive(world, car(d=LEFT_LANE_D, speed=10.0), planner_of(0.0, 0.0), 5.0)
    assert ticks[-1].world.traffic[0].s - ticks[0].world.traffic[0].s == pytest.approx(20.0)
    assert any(fault.startswith("hit a vehicle after ") for fault in faults_of(ticks))


def test_beyond_the_roads_end_metres_are_metres():
    ticks = drive(straight(), car(speed=12.0), planner_of(0.0, 0.0), 40.0)  # the road is 300 m long
    assert judge(ticks, ticks).driven_m == pytest.approx(40.0 * ticks[0].ego.speed, rel=1e-6)
    assert ticks[-1].ego.d == pytest.approx(RIGHT_LANE_D, abs=1e-6)


def test_who_runs_a_light_gains_nothing():
    routes = [
        {"faults": [], "driven_m": 50.0, "scripted_driver_m": 100.0},
        {"faults": ["ran the red light after 9.0 s"], "driven_m": 200.0, "scripted_driver_m": 100.0},
    ]
    said = summary({"routes": routes, "settings": {"seconds": 20.0}})
    assert said == "1 of 2 routes without fault in 20 s; 75% of the scripted driver's distance (least: 50%)"


def test_the_drive_is_as_long_as_asked_for():
    ticks: list[Tick] = drive(straight(), car(), planners.driver, 1.2)
    assert len(ticks) - 1 == round(1.2 / DT_S)


def test_the_command_tells_each_route_and_the_share(capsys):
    assert main(["--planner", "driver", "--first-seed", "8", "--seeds", "2", "--seconds", "3.04"]) == 0
    *routes, share = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in routes] == ["route  8", "route  9"]
    assert share == "2 of 2 routes without fault in 3 s; 100% of the scripted driver's distance (least: 100%)"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seeds", "0"],
        ["--first-seed", "-1"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--seconds", "1e9"],
        ["--planner", "nobody"],
        ["--planner", "driver", "--url", "localhost:1"],
    ],
)
def test_wrong_usage_is_told(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["/nowhere/checkpoint"],
        ["--url", "localhost:1"],
        ["--url", ""],  # a variable that is not set
        ["--url", "localhost:1", "somewhere"],
        ["--planner", "driver", "--output", "/nowhere/it.json"],
    ],
)
def test_what_is_not_there_is_one_line(arguments, capsys):
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("alpamayo_demo.drive: ")
