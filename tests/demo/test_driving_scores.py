"""Scores by hand: distances are constant over a trajectory, which was driven at the origin."""

import numpy as np
import pytest
from alpamayo_demo.errors import DemoError
from alpamayo_demo.evaluate import scores
from alpamayo_demo.road.situations import Situation

ORIGIN = np.zeros((64, 3))


def at(*x):
    """(1, 1, samples, 64, 3): each sample stands at its x."""
    xyz = np.zeros((1, 1, len(x), 64, 3))
    xyz[0, 0, :, :, 0] = np.array(x)[:, None]
    return xyz


def standing_at(x):
    return at(x)[0, 0, 0]


def test_accuracy():
    assert scores.accuracy(at(-1.0, 3.0, 4.0), ORIGIN) == pytest.approx(
        {"min_ade_1_m": 8 / 3, "min_ade_m": 1.0, "ade_of_mean_m": 2.0, "min_fde_m": 1.0, "missed": 0.0}
    )
    assert scores.accuracy(at(-3.0, 3.0), ORIGIN)["missed"] == 1.0


def test_horizons_in_words():
    assert scores.by_horizon(at(2.0), ORIGIN) == dict.fromkeys(["0.5 s", "1.0 s", "3.0 s", "5.0 s", "6.4 s"], 2.0)


def test_a_thought_is_right_if_it_names_the_situation():
    said = ["Stop at the red light.", " Stop at the red light.\n", "Stop at the stop sign.", "Stop at the red"]
    cot, complete = np.array(said, dtype=object).reshape(1, 1, 4), np.array([[[True, True, True, False]]])
    found = scores.reasoning(cot, complete, Situation.RED_LIGHT)
    assert found == {"right_situation": 0.5, "reasoning_complete": 0.75}


def test_means_by_situation():
    rows = [{"a": 1.0}, {"a": 2.0}, {"a": 6.0}]
    situations = [Situation.STOP_SIGN, Situation.KEEP_LANE, Situation.STOP_SIGN]
    assert scores.mean(rows) == {"a": 3.0}
    assert scores.mean_by_situation(rows, situations) == {"KEEP_LANE": {"a": 2.0}, "STOP_SIGN": {"a": 3.5}}


def test_comfort_over_scenes_of_different_numbers_of_samples():
    def braking(*decelerations):
        """From 10 m/s."""
        action = np.zeros((1, 1, len(decelerations), 64, 2))
        action[..., 0] = -np.array(decelerations)[:, None]
        t = np.arange(1, 65) / 10
        xyz = np.zeros((1, 1, len(decelerations), 64, 3))
        xyz[..., 0] = 10 * t - np.array(decelerations)[:, None] * t**2 / 2
        return xyz, action

    found = scores.comfort_of([braking(0.5, 1.0), braking(1.5)])
    assert found["mean"]["max_acceleration_mps2"] == pytest.approx(1.0)
    assert found["worst"]["max_acceleration_mps2"] == pytest.approx(1.5)
    assert found["mean"]["min_speed_mps"] == pytest.approx(3.6, abs=1e-3)
    assert found["worst"]["min_speed_mps"] == pytest.approx(0.4, abs=1e-3)  # the worst speed is the smallest
    assert found["mean"]["goes_backwards"] == 0
    found = scores.comfort_of([braking(0.5, 1.0), braking(1.6, 10.05 / 6.4)])  # the last two end at -0.24 and -0.05 m/s
    assert found["mean"]["goes_backwards"] == pytest.approx(1 / 4)


def test_frames_swapped():
    assert scores.frames_swapped([1.0, 2.0], [3.0, 6.0]) == {
        "own_min_ade_m": 1.5,
        "swapped_min_ade_m": 4.5,
        "ratio": 3.0,
    }


def test_thought_given():
    predicted = [at(7.0, 9.0), at(5.0, 7.0), at(1.0, 3.0), at(50.0)]
    given = [standing_at(x) for x in (10.0, 10.0, 10.0, 0.9)]  # the last is too near to tell
    assert scores.thought_given(predicted, [ORIGIN] * 4, given) == pytest.approx(
        {"counted": 3, "obeyed": 2 / 3, "to_given_m": 14 / 3, "to_own_m": 16 / 3}
    )


def test_thought_given_where_nothing_tells():
    with pytest.raises(DemoError, match="more than 1"):
        scores.thought_given([at(0.0)], [ORIGIN], [ORIGIN])
