"""An augmented scene is one that could have been."""

import numpy as np
import pytest
import torch
from alpamayo_demo.drive.loop import Ride
from alpamayo_demo.road.centreline import Centreline, curvature_profile
from alpamayo_demo.road.ego import Ego
from alpamayo_demo.road.events import (
    LEFT_LANE_D,
    RIGHT_LANE_D,
    Cones,
    Crossing,
    LaneClosed,
    SpeedBump,
    StopSign,
    TrafficLight,
    Vehicle,
)
from alpamayo_demo.road.situations import Situation
from alpamayo_demo.road.world import World
from alpamayo_demo.train import augmentation
from alpamayo_demo.train.augmentation import FALSE_HISTORIES, falsified, mirrored
from alpamayo_demo.train.batches import Batches
from alpamayo_demo.train.scenes_on_disk import arrays_of


@pytest.mark.parametrize(
    ("make", "curves", "situation"),
    [
        (None, [(18.0, 60.0, 1 / 40)], Situation.CURVE_LEFT),
        (None, [(18.0, 60.0, -1 / 40)], Situation.CURVE_RIGHT),
        (lambda s, d, right: Cones(s, d, on_the_right=right), [], Situation.CONES_RIGHT),
        (lambda s, d, right: LaneClosed(s, d), [], Situation.LANE_CLOSED_RIGHT),
        (lambda s, d, right: TrafficLight(s, d, green=False), [], Situation.RED_LIGHT),
        (lambda s, d, right: StopSign(s, d), [], Situation.STOP_SIGN),
        (lambda s, d, right: SpeedBump(s, d), [], Situation.SPEED_BUMP),
        (lambda s, d, right: Vehicle(s, d, 0.0), [], Situation.BROKEN_DOWN),
        (lambda s, d, right: Crossing(s, d, *((-5.0, 0.8) if right else (5.0, -0.8))), [], Situation.PEDESTRIAN),
        (lambda s, d, right: SpeedBump(s, d), [(-30.0, 90.0, 1 / 300)], Situation.SPEED_BUMP),
    ],
)
def test_a_mirrored_scene_is_what_the_road_in_the_mirror_shows(make, curves, situation, monkeypatch):
    monkeypatch.setattr(augmentation, "MIRRORED", 1.0)
    road, other = (Centreline(curvature_profile(300.0, -40.0, curves) * side, -40.0) for side in (1, -1))
    here = World(road, RIGHT_LANE_D, [make(45.0, RIGHT_LANE_D, True)] if make else [], [], [], 0.0, 1.0)
    there = World(other, LEFT_LANE_D, [make(45.0, LEFT_LANE_D, False)] if make else [], [], [], 0.0, 1.0)
    cars = (Ego(0.0, d, 0.0, 9.0, 0.0, d) for d in (RIGHT_LANE_D + 0.3, LEFT_LANE_D - 0.3))
    scene, wanted = (arrays_of(Ride(*it).moment(), 0) for it in zip((here, there), cars, strict=True))
    assert list(Situation)[scene["situation"]] is situation
    got = mirrored(np.random.default_rng(0), {name: array[None] for name, array in scene.items()})
    assert got["situation"][0] == wanted["situation"]
    seen, should = got["image_frames"][0].astype(float), wanted["image_frames"].astype(float)
    off = (seen - should).reshape(2, 2, 3, 24, 4, 40, 4).mean(axis=(4, 6))  # a sign's letters have a direction
    assert np.abs(off).max() < 15
    assert np.abs(seen - should).mean() < 0.05
    np.testing.assert_allclose(got["ego_history_xyz"][0], wanted["ego_history_xyz"], atol=1e-5)
    np.testing.assert_allclose(got["action"][0], wanted["action"], atol=1e-5)


def test_half_of_the_scenes_are_mirrored_and_none_is_changed_in_place(scenes):
    before = {name: array.copy() for name, array in scenes.items()}
    once = mirrored(np.random.default_rng(0), scenes)
    twice = mirrored(np.random.default_rng(0), once)
    for name, array in before.items():
        np.testing.assert_array_equal(scenes[name], array)
        np.testing.assert_array_equal(twice[name], array)
    changed = (once["image_frames"] != scenes["image_frames"]).any(axis=(1, 2, 3, 4, 5))
    assert 0.2 < changed.mean() < 0.8
    np.testing.assert_array_equal(once["other_action"][changed], before["other_action"][changed] * np.float32([1, -1]))
    sided = np.array(["LEFT" in situation.name or "RIGHT" in situation.name for situation in Situation])
    other = once["other_situation"] != before["other_situation"]
    np.testing.assert_array_equal(other, sided[before["other_situation"]] & changed[:, None])


def test_a_batch_is_mirrored(scenes, untrained, monkeypatch):
    drawn = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(augmentation, "MIRRORED", share)
        drawn.append(Batches(untrained, scenes).draw(seed=3, step=0, size=8))
    torch.testing.assert_close(drawn[0].own_action * torch.tensor([1.0, -1.0]), drawn[1].own_action)


def test_false_histories_end_as_the_true_ones_and_never_go_backwards():
    speed = np.linspace(0.1, 12, 400)[:, None]
    true = np.zeros((400, 16, 3), np.float32)
    true[..., 0] = speed * np.linspace(-1.5, 0, 16)
    false = falsified(np.random.default_rng(0), true)
    changed = (false != true).any(axis=(1, 2))
    moved = -true[:, 0, 0] > 0.5
    assert not changed[~moved].any()
    assert changed[moved].mean() == pytest.approx(FALSE_HISTORIES, abs=0.06)
    assert not false[:, -1].any()
    last, before = np.diff(false, axis=1)[:, -1], np.diff(true, axis=1)[:, -1]
    assert np.abs(last - before)[:, :2].max() < 0.03  # metres, of up to 1.2
    assert (np.diff(false[..., 0], axis=1) > -1e-5).all()
    assert np.abs(false[:, 0, 1]).max() > 1.0  # metres aside
    assert np.abs(false - true)[:, 0, 0].max() > 1.0  # metres along
