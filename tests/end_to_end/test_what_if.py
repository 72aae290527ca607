"""One scene under several thoughts, asked of the real server."""

import asyncio
import sys

import numpy as np
import pytest
from alpamayo_client import (
    AsyncAlpamayoClient,
    InvalidRequestError,
    Scene,
    TimedOutError,
    compare,
    compare_async,
    comparison_plot,
)
from PIL import Image

from .golden_case import golden_case

CASE = golden_case("sampled")
SCENE = Scene(*CASE.scene)
THOUGHTS = ["Slow down.", "Turn left.", "Slow down."]


@pytest.fixture(scope="module")
def comparison(client):
    return compare(client, SCENE, THOUGHTS, num_traj_sets=2, seed=3)


def test_the_own_thought_is_what_predict_answers(client, comparison):
    own = client.predict(SCENE, seed=3)
    assert comparison.thoughts == (own.cot[0, 0, 0], *THOUGHTS)
    assert comparison.prediction.pred_xyz.shape == (1, 2, 4, 64, 3)
    assert comparison.prediction.seed == 3


def test_outcomes_differ_by_their_thoughts_alone(comparison):
    apart_m = comparison.distances_m
    np.testing.assert_allclose(apart_m, apart_m.T)
    assert apart_m[1, 3] == pytest.approx(0, abs=1e-4)  # the same thought twice, from the same noise
    assert (np.diag(apart_m) == 0).all()
    assert min(apart_m[0, 1], apart_m[0, 2], apart_m[1, 2]) > 1e-3
    first, second = comparison.prediction.pred_xyz[0]
    by_hand = [np.linalg.norm((xyz[1] - xyz[2])[:, :2], axis=-1).mean() for xyz in (first, second)]
    assert apart_m[1, 2] == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert np.abs(first - second).max() > 1e-3  # each set from another noise


def test_the_same_seed_is_the_same_comparison(client, comparison):
    again = compare(client, SCENE, THOUGHTS, num_traj_sets=2, seed=3)
    np.testing.assert_array_equal(again.prediction.pred_xyz, comparison.prediction.pred_xyz)
    drawn = compare(client, SCENE, ["Stop."])
    assert drawn.prediction.seed != compare(client, SCENE, ["Stop."]).prediction.seed


def test_the_async_client_compares_as_well(server, comparison):
    async def ask():
        async with AsyncAlpamayoClient(server.grpc) as client:
            return await compare_async(client, SCENE, THOUGHTS, num_traj_sets=2, seed=3)

    np.testing.assert_array_equal(asyncio.run(ask()).prediction.pred_xyz, comparison.prediction.pred_xyz)


def test_a_picture(comparison, tmp_path):
    comparison.save_picture(tmp_path / "what_if.png")
    with Image.open(tmp_path / "what_if.png") as picture:
        assert picture.width == 1500
        assert len(picture.convert("RGB").getcolors(2**24)) > 100


def test_what_is_drawn(comparison):
    figure = comparison_plot._draw(comparison)
    titles = [axes.get_title() for axes in figure.axes]
    cameras = [f"camera {i} at t0" for i in range(len(CASE["frames"]))]
    assert titles[:1] + titles[-3:] == [
        "From above",
        "Speed (m/s)",
        "Metres between two outcomes, mean over 6.4 s",
        "Reasoning",
    ]
    assert titles[1:-3] == cameras


def test_a_picture_of_no_format(comparison, tmp_path):
    with pytest.raises(InvalidRequestError, match=r"what_if\.foo, wanted a name that ends in one of .*\.png"):
        comparison.save_picture(tmp_path / "what_if.foo")
    assert not list(tmp_path.iterdir())


def test_a_picture_without_the_extra(comparison, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("alpamayo_client.") and name.endswith("plot")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install '\./client\[cli\]'"):
        comparison.save_picture(tmp_path / "what_if.png")


@pytest.mark.parametrize(
    ("thoughts", "options", "message"),
    [
        ("Stop.", {}, "thoughts: got str, wanted a list"),
        ([], {}, "thoughts: got an empty list, wanted a list of at least one str"),
        ([1], {}, "thoughts: got list of int"),
        (["a"], {"num_traj_sets": 0}, "num_traj_sets: got 0, wanted at least 1"),
        (["a"], {"num_traj_sets": 1.5}, "num_traj_sets: got 1.5, wanted an integer"),
        (["a"], {"seed": -1}, "seed: got -1, wanted 0"),
        (["a"], {"temperature": -1}, "temperature must be"),
        (["a"], {"priority": 4}, "priority: got 4"),
        (["a"], {"noise": 0, "reasoning": []}, "noise, reasoning: compare sets it by itself"),
        (["a"] * 32, {}, "at most 32 trajectories"),
        (["<|cot_end|>"], {}, "must be plain text"),
        (["a b " * 400], {}, "too long"),
    ],
)
def test_what_cannot_be_asked(client, thoughts, options, message):
    with pytest.raises(InvalidRequestError, match=message):
        compare(client, SCENE, thoughts, **options)


def test_a_timeout(client):
    with pytest.raises(TimedOutError):
        compare(client, SCENE, THOUGHTS, timeout_s=0.001)
