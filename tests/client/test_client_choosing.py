"""Choosing among K, on sets made by hand: trajectories straight ahead, so many metres to the left."""

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError, Mode
from alpamayo_client.choosing import distances_m, medoid, modes, spread_m
from alpamayo_client.prediction import parse_response
from little_triton import answer, response_message
from tritonclient.grpc import InferResult


def beside(*lefts_m, sets=1):
    """(1, sets, samples, 64, 3): 10 m/s, parallel; z is not to matter."""
    xyz = np.zeros((len(lefts_m), 64, 3), np.float32)
    xyz[..., 0] = np.arange(1, 65)
    xyz[..., 1] = np.array(lefts_m)[:, None]
    xyz[..., 2] = np.arange(len(lefts_m))[:, None] * 100
    return xyz.reshape(1, sets, -1, 64, 3)


def cot(*thoughts, sets=1):
    return np.array([[thoughts] * sets], dtype=np.object_)


def test_the_distance_is_the_mean_over_time():
    fan = beside(0, 0)
    fan[0, 0, 1, :, 1] = np.arange(64)
    np.testing.assert_allclose(distances_m(fan), [[0, 31.5], [31.5, 0]])


@pytest.mark.parametrize(
    ("lefts_m", "sets", "wanted"),
    [
        ((0,), 1, (0, 0)),
        ((3, 3), 1, (0, 0)),
        ((0, 0.1, 0.2, 40), 1, (0, 1)),  # one bad sample of four; without it 0.1 too
        ((40, 0.2, 0.1, 0), 2, (0, 1)),
        ((5, 1, 2, 3, 4, 0), 3, (1, 0)),  # 2 and 3 are in the middle: the first of them
        ((-1, 0, 1), 1, (0, 1)),
    ],
)
def test_the_medoid_is_a_trajectory_in_the_middle(lefts_m, sets, wanted):
    assert medoid(beside(*lefts_m, sets=sets)) == wanted


def test_modes_are_clusters_with_their_shares_and_thoughts():
    xyz = beside(0, 4, 0.4, 4.2, 0.2, 9)
    found = modes(xyz, cot("keep", "left", "keep", "nudge left", "slow down", "turn"), threshold_m=1)
    assert found == (
        Mode(((0, 0), (0, 2), (0, 4)), 0.5, (0, 4), ("keep", "slow down")),
        Mode(((0, 1), (0, 3)), 2 / 6, (0, 1), ("left", "nudge left")),
        Mode(((0, 5),), 1 / 6, (0, 5), ("turn",)),
    )


def test_modes_of_several_sets_share_their_thoughts():
    found = modes(beside(0, 5, 0.1, 5.1, sets=2), cot("keep", "left", sets=2), threshold_m=1)
    assert [(mode.indices, mode.thoughts) for mode in found] == [
        (((0, 0), (1, 0)), ("keep",)),
        (((0, 1), (1, 1)), ("left",)),
    ]


def test_small_steps_do_not_make_one_mode_of_left_and_right():
    lefts_m = np.linspace(0, 9, 10)
    found = modes(beside(*lefts_m), cot(*"abcdefghij"), threshold_m=2.5)
    assert all(np.ptp(lefts_m[[i for _, i in mode.indices]]) <= 2.5 for mode in found)
    assert sorted(i for mode in found for _, i in mode.indices) == list(range(10))
    assert len(modes(beside(*lefts_m), cot(*"abcdefghij"), threshold_m=9.01)) == 1
    assert len(modes(beside(*lefts_m), cot(*"abcdefghij"), threshold_m=0.99)) == 10


def test_the_most_frequent_thought_comes_first():
    (mode,) = modes(beside(0, 0, 0), cot("b", "a", "a"), threshold_m=1)
    assert mode.thoughts == ("a", "b")


def test_spread_grows_with_the_distance_from_the_mean():
    fan = beside(0, 0, sets=2)
    fan[0, 0, 0, :, 1], fan[0, 1, 0, :, 1] = np.arange(64), -np.arange(64)
    np.testing.assert_allclose(spread_m(fan), np.arange(64))
    np.testing.assert_array_equal(spread_m(beside(7)), np.zeros(64))
    np.testing.assert_allclose(spread_m(beside(0, 3, 3))[5], np.sqrt(2))  # 2, 1, 1 m from the mean


@pytest.mark.parametrize("threshold_m", [0, -1, np.inf, np.nan, "wide", None, True])
def test_a_threshold_that_is_none(threshold_m):
    with pytest.raises(InvalidRequestError, match="threshold_m: got"):
        modes(beside(0, 1), cot("a", "b"), threshold_m)


@pytest.mark.parametrize("choose", [medoid, spread_m, lambda xyz: modes(xyz, cot("a", "b"), 1.0)])
def test_what_is_no_set_of_trajectories(choose):
    for wrong in (beside(0, 1)[0], beside(0, 1)[:, :, :0], beside(0, 1)[..., :2], beside(0, np.nan)):
        with pytest.raises(InvalidRequestError, match="pred_xyz: "):
            choose(wrong)


def test_an_answer_chooses_among_its_own():
    """Of the little server's trajectories, number a goes a metres to the left."""
    prediction = parse_response(InferResult(response_message(answer(sets=2, samples=3))))
    assert prediction.medoid() == (0, 2)
    assert [mode.share for mode in prediction.modes(2.5)] == [1 / 3] * 3
    assert prediction.modes(0.5)[1].thoughts == ("Thought 1.",)
    np.testing.assert_allclose(prediction.spread_m, np.sqrt(35 / 12))
