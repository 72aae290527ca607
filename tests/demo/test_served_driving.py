"""The committed checkpoint drives, asked through the served ensemble: thresholds that a broken model or a broken stage
fails, far from what it does.
"""

import io
import json
from contextlib import redirect_stdout
from dataclasses import astuple, replace

import accuracy
import pytest
from alpamayo_demo.drive import planners
from alpamayo_demo.drive.cli import main as drive_command
from alpamayo_demo.drive.loop import drive
from alpamayo_demo.drive.rules import judge
from alpamayo_demo.evaluate.cases import make_cases
from alpamayo_demo.evaluate.cli import main
from alpamayo_demo.evaluate.table import table
from alpamayo_demo.road.routes import route
from alpamayo_demo.road.scenes import Split
from alpamayo_demo.road.situations import Situation
from alpamayo_demo.served import CHECKPOINT, served
from robot import robot_at

ROUTES = (0, 1)
SECONDS = 5.0


@pytest.fixture(scope="module")
def client():
    with served(CHECKPOINT) as client:
        yield client


@pytest.fixture(scope="module")
def evaluated(client, tmp_path_factory):
    """What the command wrote and printed about two scenes of every situation."""
    output, printed = tmp_path_factory.mktemp("evaluation") / "result.json", io.StringIO()
    with redirect_stdout(printed):
        assert main(["--url", client.url, "--scenes-per-situation", "2", "--output", str(output)]) == 0
    return json.loads(output.read_text()), printed.getvalue()


@pytest.fixture(scope="module")
def result(evaluated):
    return evaluated[0]


def test_it_knows_what_it_sees(result):
    assert result["model"]["overall"]["right_situation"] >= 0.9
    assert result["model"]["overall"]["reasoning_complete"] >= 0.99


def test_it_drives_as_the_driver_does(result):
    assert result["model"]["overall"]["min_ade_m"] < 0.8


def test_it_is_far_better_than_driving_blind(result):
    blind = min(baseline["overall"]["min_ade_m"] for baseline in result["baselines"].values())
    assert result["model"]["overall"]["min_ade_m"] < blind / 4


def test_it_looks(result):
    assert result["probes"]["frames_swapped"]["ratio"] >= 3


def test_it_does_what_it_thinks(result):
    assert result["probes"]["thought_given"]["obeyed"] >= 0.9


@pytest.fixture(scope="module")
def driven(client):
    """Each route, by its seed."""
    return {seed: drive(*route(seed), planners.model(client), 20.0) for seed in ROUTES}


@pytest.mark.parametrize("seed", ROUTES)
def test_it_drives_a_route_in_closed_loop(driven, seed):
    outcome = judge(driven[seed], drive(*route(seed), planners.driver, 20.0))
    assert outcome.faults == []
    assert outcome.driven_m == pytest.approx(outcome.scripted_driver_m, rel=0.2)


def test_it_drives_the_same_way_through_a_scene_buffer_and_a_planning_loop(client, driven):
    """Into a curve."""
    with robot_at(client.url) as robot:
        ticks = drive(*route(1), robot.plan, SECONDS)
    assert (robot.planning.counts.failed, robot.planning.counts.timed_out) == (0, 0)
    for tick, own in zip(ticks, driven[1], strict=False):
        assert (tick.plan.thought, astuple(tick.ego)) == (own.plan.thought, pytest.approx(astuple(own.ego), abs=1e-3))
    assert max(robot.off_m) < 0.2  # a trajectory that was drawn, and the mean of all


def test_a_server_that_allows_too_few_trajectories_is_told_so_before_it_drives(client, monkeypatch, capsys):
    monkeypatch.setattr(planners, "DRAWN", 33)
    assert drive_command(["--url", client.url, "--seeds", "1"]) == 1
    printed = capsys.readouterr()
    assert "(the repository's limit is too low): got 33, wanted at most 32" in printed.err
    assert not printed.out


def test_the_benchmark_compares_settings_of_the_same_scenes(client):
    cases = make_cases(Split.HELD_OUT, 1)[:2]
    usual, again, one = accuracy.drive(
        client, cases, [accuracy.USUAL, accuracy.USUAL, replace(accuracy.USUAL, samples=1)]
    )
    assert usual | {"seconds": 0} == again | {"seconds": 0}
    assert one["min_ade_m"] == one["min_ade_1_m"] >= usual["min_ade_m"]
    assert usual["right_situation"] == 1.0
    assert usual["seconds"] > 0


def test_it_drives_in_bf16_too():
    cases = make_cases(Split.HELD_OUT, 1)
    with served(CHECKPOINT, "bf16", "torch") as client:
        assert (client.metadata()["precision"], client.metadata()["denoiser"]) == ("bf16", "torch")
        (scores,) = accuracy.drive(client, cases, [accuracy.USUAL])
    assert scores["right_situation"] >= 0.9
    assert scores["min_ade_m"] < 0.8


def test_the_table_is_made_of_the_result(evaluated):
    result, printed = evaluated
    assert printed == table(result) + "\n"
    assert [situation.value for situation in Situation if situation.value not in printed] == []
    assert result["settings"]["scenes"] == 2 * len(Situation)
