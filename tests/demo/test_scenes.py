import hashlib
import subprocess
import sys

import ego_history
import numpy as np
import pytest
import unicycle
from alpamayo_client import Scene
from alpamayo_demo.road.ego import DT_S
from alpamayo_demo.road.events import AT_THE_LINE_M, STANDING_MPS, Crossing
from alpamayo_demo.road.imagined import imagined_action
from alpamayo_demo.road.render import render
from alpamayo_demo.road.scenes import HISTORY_POSES, MODEL_CAMERAS, DrivingScene, Split, moment, scene
from alpamayo_demo.road.situations import Situation, named

ARRAYS = ("image_frames", "ego_history_xyz", "ego_history_rot", "ego_future_xyz", "action")


@pytest.fixture(scope="module")
def scenes() -> dict[Situation, DrivingScene]:
    return {situation: scene(Split.HELD_OUT, 3, situation) for situation in Situation}


def digest(it: DrivingScene) -> str:
    return hashlib.sha256(b"".join(getattr(it, name).tobytes() for name in ARRAYS)).hexdigest()


def test_the_grammar_has_a_sentence_for_every_situation_and_no_other():
    thoughts = [situation.value for situation in Situation]
    assert len(set(thoughts)) == len(thoughts) >= 12
    assert all(named(f" {situation.value}\n") is situation for situation in Situation)
    assert named("Keep the lane") is named("") is named("keep the lane at a steady speed.") is None


def test_a_scene_is_what_the_contract_wants(scenes):
    for it in scenes.values():
        Scene(it.image_frames, it.ego_history_xyz, it.ego_history_rot, it.ego_future_xyz)  # checks all of it
        assert it.image_frames.shape == (len(MODEL_CAMERAS), 2, 3, 96, 160)
        assert not it.ego_history_xyz[-1].any()
        np.testing.assert_array_equal(it.ego_history_rot[-1], np.eye(3))
        ego_history.check_history(it.ego_history_xyz, it.ego_history_rot)


def test_the_served_unicycle_drives_its_action_to_its_future(scenes):
    for it in scenes.values():
        xyz, rot = it.ego_history_xyz.astype(float), it.ego_history_rot.astype(float)
        speed = float(ego_history.estimate_speeds(xyz, rot)[-1])
        driven, _ = unicycle.integrate(it.action[None].astype(float), speed, 0.0, DT_S)
        assert np.abs(driven[0] - it.ego_future_xyz).max() < 0.10, it.situation
        assert np.abs(driven[0] - it.ego_future_xyz)[:10].max() < 0.02, it.situation


def test_the_driver_is_in_the_situation_that_the_scene_is_called_by(scenes):
    assert all(it.situation is situation for situation, it in scenes.items())
    assert len({digest(it) for it in scenes.values()}) == len(Situation)


def test_the_frames_are_of_different_times(scenes):
    found = moment(Split.HELD_OUT, 3, Situation.KEEP_LANE)
    for camera, (before, now) in zip(MODEL_CAMERAS, scenes[Situation.KEEP_LANE].image_frames, strict=True):
        np.testing.assert_array_equal(before, render(*found.past[-1 - 5], camera))  # t0 - 0.5 s
        np.testing.assert_array_equal(now, render(*found.past[-1], camera))
        assert (before != now).any()


def test_the_same_seed_is_the_same_scene(scenes):
    again = scene(Split.HELD_OUT, 3, Situation.RED_LIGHT)
    assert digest(again) == digest(scenes[Situation.RED_LIGHT])


def test_the_same_seed_is_the_same_scene_in_another_process(scenes):
    code = (
        "from test_scenes import *\n"
        "for it in (Situation.CONES_LEFT, Situation.PEDESTRIAN): print(digest(scene(Split.HELD_OUT, 3, it)))"
    )
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [digest(scenes[s]) for s in (Situation.CONES_LEFT, Situation.PEDESTRIAN)]


@pytest.mark.parametrize(
    ("split", "situation", "pose", "last_action", "mean_pixels"),
    [
        (Split.TRAIN, "CONES_LEFT", (125.1862, -27.9297, -0.4402, 9.9591), (0.01919, -0.00166), (128.845, 150.515)),
        (Split.HELD_OUT, "STOP_SIGN", (24.8227, 1.7163, -0.0013, 9.7863), (-0.52049, -0.00001), (80.247, 106.816)),
        (Split.HELD_OUT, "PEDESTRIAN", (51.4636, -0.2090, -0.0933, 9.0928), (-0.39629, 0.00008), (90.842, 117.259)),
        (Split.HARD, "RED_LIGHT", (22.8634, -1.7133, 0.0119, 7.6916), (-0.25, 0.00003), (135.507, 149.960)),
    ],
)
def test_scenes_are_those_that_the_committed_checkpoint_was_trained_and_measured_on(
    split, situation, pose, last_action, mean_pixels
):
    """Red when the road has changed: then train anew, measure anew, and write the new numbers here."""
    ego = moment(split, 1, Situation[situation]).ego
    found = scene(split, 1, Situation[situation])
    assert (ego.x, ego.y, ego.heading, ego.speed) == pytest.approx(pose, abs=1e-3)
    assert found.action[-1] == pytest.approx(last_action, abs=1e-4)
    assert found.image_frames.mean(axis=(1, 2, 3, 4)) == pytest.approx(mean_pixels, abs=0.02)


def test_the_hard_split_goes_beyond_the_others():
    def values(split, situation, of):
        return [of(moment(split, seed, situation).world) for seed in range(6)]

    usual = [Split.TRAIN, Split.HELD_OUT]
    radius = {it: values(it, Situation.CURVE_LEFT, lambda world: 1 / world.road.curvature.max()) for it in Split}
    assert max(radius[Split.HARD]) < min(min(radius[it]) for it in usual)
    ahead = {it: values(it, Situation.SLOW_VEHICLE, lambda world: world.events[0].speed) for it in Split}
    assert max(ahead[Split.HARD]) < min(min(ahead[it]) for it in usual)
    walking = {
        it: values(it, Situation.PEDESTRIAN, lambda world: max(abs(getattr(e, "walking_mps", 0)) for e in world.events))
        for it in Split
    }
    assert min(walking[Split.HARD]) > max(max(walking[it]) for it in usual)


@pytest.mark.parametrize("split", [Split.TRAIN, Split.HELD_OUT])
def test_pedestrians_come_from_both_sides(split):
    found = [moment(split, seed, Situation.PEDESTRIAN).world.events for seed in range(8)]
    sides = [event.side for events in found for event in events if isinstance(event, Crossing)]
    assert {-1.0, 1.0} == set(sides)


def test_another_seed_and_another_split_are_another_scene():
    keys = [(split, seed) for split in Split for seed in (0, 1)]
    assert len({digest(scene(*key, Situation.KEEP_LANE)) for key in keys}) == len(keys)


def test_only_training_cars_wander_in_their_lane_and_come_from_long_roads():
    found = {split: [moment(split, seed, it) for it in Situation for seed in range(4)] for split in Split}
    off = {split: np.std([it.ego.d - it.world.path_d(it.ego.s) for it in moments]) for split, moments in found.items()}
    assert off[Split.TRAIN] > 1.5 * max(off[Split.HELD_OUT], off[Split.HARD])
    long = {split: np.mean([it.world.road.end_m > 400 for it in moments]) for split, moments in found.items()}
    assert 0.2 < long[Split.TRAIN] < 0.5
    assert long[Split.HELD_OUT] == long[Split.HARD] == 0


def test_only_training_cars_stop_where_they_like():
    def gaps(split):
        found = [moment(split, seed, Situation.DRIVE_ON) for seed in range(20)]
        return [it.world.events[0].s - it.ego.front_s for it in found if it.ego.speed < STANDING_MPS]

    usual, any_where = gaps(Split.HELD_OUT), [gap for gap in gaps(Split.TRAIN) if 0 < gap < AT_THE_LINE_M]
    assert len(usual) > 4
    assert len(any_where) > 4
    assert np.ptp(any_where) > 2 > 1 > np.ptp(usual)


def test_a_history_is_as_long_as_it_should_be_and_its_speeds_are_the_cars():
    for situation in (Situation.SPEED_UP, Situation.SLOW_VEHICLE):
        found = moment(Split.TRAIN, 5, situation)
        assert len(found.past) == HISTORY_POSES
        way = [np.hypot(b.x - a.x, b.y - a.y) for (_, a), (_, b) in zip(found.past, found.past[1:], strict=False)]
        mean = [(a.speed + b.speed) / 2 for (_, a), (_, b) in zip(found.past, found.past[1:], strict=False)]
        np.testing.assert_allclose(np.array(way) / DT_S, mean, atol=0.01)


def test_believing_otherwise_is_driving_otherwise():
    found = moment(Split.HELD_OUT, 0, Situation.KEEP_LANE)
    own = imagined_action(found, Situation.KEEP_LANE)
    assert imagined_action(found, Situation.CURVE_LEFT)[20:, 1].max() > own[:, 1].max() + 0.005
    assert imagined_action(found, Situation.CURVE_RIGHT)[20:, 1].min() < own[:, 1].min() - 0.005
    assert imagined_action(found, Situation.RED_LIGHT)[:, 0].min() < own[:, 0].min() - 1.0
