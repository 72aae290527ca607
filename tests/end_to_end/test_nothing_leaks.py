"""Thoughts and trajectories of one request know nothing of each other, and chance comes from the seed alone."""

import numpy as np
import pytest

from .golden_case import golden_case

SCENE = golden_case("sampled").scene
QUICK = {"max_generation_length": 12, "inference_steps": 4}


def assert_close(got, wanted):
    np.testing.assert_allclose(got.pred_xyz, wanted.pred_xyz, atol=1e-4, rtol=0)
    np.testing.assert_allclose(got.pred_rot, wanted.pred_rot, atol=1e-4, rtol=0)
    np.testing.assert_allclose(got.action, wanted.action, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(got.cot, wanted.cot)
    np.testing.assert_array_equal(got.reasoning_complete, wanted.reasoning_complete)


def assert_bit_equal(got, wanted):
    for name in ("pred_xyz", "pred_rot", "action", "cot", "reasoning_complete", "within_bounds", "seed"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), err_msg=name)


def part(prediction, sets, samples):
    """What a prediction says about some of its sets and samples."""
    names = ("pred_xyz", "pred_rot", "action", "cot", "reasoning_complete")
    return type("Part", (), {name: getattr(prediction, name)[:, sets, samples] for name in names})


FIRST, ALL = slice(0, 1), slice(None)


def apart(trajectories):
    """The smallest distance between any two of them (n, 64, 3): in metres, at the waypoint where it is largest."""
    n = len(trajectories)
    return min(np.abs(trajectories[i] - trajectories[j]).max() for i in range(n) for j in range(i))


@pytest.fixture(scope="module", params=[3, 4, 2**53 - 1])
def six_samples(request, client):
    prediction = client.predict(*SCENE, num_traj_samples=6, seed=request.param, **QUICK)
    assert len(set(prediction.cot.flat)) > 2
    assert apart(prediction.pred_xyz[0, 0]) > 1e-2
    return prediction


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_the_first_samples_of_six_are_those_of_a_smaller_request(client, six_samples, samples):
    fewer = client.predict(*SCENE, num_traj_samples=samples, seed=six_samples.seed, **QUICK)
    assert_close(fewer, part(six_samples, ALL, slice(0, samples)))


@pytest.fixture(scope="module")
def three_sets(client):
    return client.predict(*SCENE, num_traj_samples=2, num_traj_sets=3, seed=3, **QUICK)


def test_sets_share_their_thoughts_and_differ_in_the_trajectories(three_sets):
    assert three_sets.pred_xyz.shape == (1, 3, 2, 64, 3)
    assert three_sets.pred_rot.shape == (1, 3, 2, 64, 3, 3)
    assert three_sets.action.shape == (1, 3, 2, 64, 2)
    first, second = three_sets.cot[0, 0]
    assert first != second
    assert three_sets.cot.tolist() == [[[first, second]] * 3]
    assert apart(three_sets.pred_xyz[0].reshape(6, 64, 3)) > 1e-2


def test_the_first_set_is_that_of_a_smaller_request(client, three_sets):
    one_set = client.predict(*SCENE, num_traj_samples=2, seed=3, **QUICK)
    assert_close(one_set, part(three_sets, FIRST, ALL))
    one_trajectory = client.predict(*SCENE, seed=3, **QUICK)
    assert_close(one_trajectory, part(three_sets, FIRST, FIRST))


def test_noise_is_laid_out_set_after_set(client):
    noise = np.random.default_rng(1).normal(size=(6, 64, 2)).astype(np.float32)
    ask = {"num_traj_samples": 2, "seed": 3, **QUICK}
    together = client.predict(*SCENE, num_traj_sets=3, noise=noise, **ask)
    assert apart(together.pred_xyz[0].reshape(6, 64, 3)) > 1e-2
    for i in range(3):
        alone = client.predict(*SCENE, noise=noise[2 * i : 2 * i + 2], **ask)
        assert_close(alone, part(together, slice(i, i + 1), ALL))


def test_the_same_thought_and_noise_twice_is_the_same_trajectory_twice(client):
    noise = np.random.default_rng(1).normal(size=(1, 64, 2)).astype(np.float32).repeat(3, axis=0)
    prediction = client.predict(*SCENE, reasoning=["Slow down.", "Turn left.", "Slow down."], noise=noise)
    assert prediction.cot.tolist() == [[["Slow down.", "Turn left.", "Slow down."]]]
    assert prediction.reasoning_complete.all()
    slow, left, slow_again = prediction.pred_xyz[0, 0]
    np.testing.assert_allclose(slow_again, slow, atol=1e-4, rtol=0)
    assert np.abs(left - slow).max() > 1e-3
    alone = client.predict(*SCENE, reasoning=["Slow down."], noise=noise[:1])
    np.testing.assert_allclose(alone.pred_xyz[0, 0, 0], slow, atol=1e-4, rtol=0)


def test_given_thoughts_come_after_the_model_s_own(client):
    """Two of its own are those of a request for two; the given ones are those of a request for them alone."""
    given, noise = ["Slow down.", ""], np.random.default_rng(1).normal(size=(8, 64, 2)).astype(np.float32)
    by_set = noise.reshape(2, 4, 64, 2)
    more = {"num_traj_sets": 2, "seed": 3, **QUICK}
    mixed = client.predict(*SCENE, reasoning=given, num_traj_samples=4, noise=noise, **more)
    assert mixed.cot[0, 0, 2:].tolist() == given
    own = client.predict(*SCENE, num_traj_samples=2, noise=by_set[:, :2].reshape(4, 64, 2), **more)
    assert_close(part(mixed, ALL, slice(0, 2)), own)
    alone = client.predict(*SCENE, reasoning=given, noise=by_set[:, 2:].reshape(4, 64, 2), **more)
    assert_close(part(mixed, ALL, slice(2, 4)), alone)
    assert mixed.reasoning_complete[..., 2:].all()


def test_a_given_thought_must_fit_beside_those_that_are_generated(client):
    with pytest.raises(ValueError, match=r"reasoning\[1\] has \d+ tokens.*at most max_generation_length, 12"):
        client.predict(*SCENE, reasoning=["", "Slow down. " * 9], num_traj_samples=3, **QUICK)
    assert client.predict(*SCENE, reasoning=["", "Slow down. " * 9], **QUICK).reasoning_complete.all()


def test_an_empty_thought_may_be_given(client):
    noise = np.zeros((1, 64, 2), np.float32)
    empty = client.predict(*SCENE, reasoning=[""], noise=noise)
    assert empty.cot.tolist() == [[[""]]]
    assert empty.reasoning_complete.all()
    other = client.predict(*SCENE, reasoning=["Stop."], noise=noise)
    assert np.abs(other.pred_xyz - empty.pred_xyz).max() > 1e-3


def test_given_thoughts_are_told_apart_by_their_noise_in_every_set(client):
    given = ["Slow down.", "Größer \N{RIGHTWARDS ARROW} 注意"]
    prediction = client.predict(*SCENE, reasoning=given, num_traj_sets=2, seed=3)
    assert prediction.cot.tolist() == [[given, given]]
    assert apart(prediction.pred_xyz[0].reshape(4, 64, 3)) > 1e-2


def test_the_same_seed_repeats(client, three_sets):
    assert_bit_equal(client.predict(*SCENE, num_traj_samples=2, num_traj_sets=3, seed=3, **QUICK), three_sets)


def test_another_seed_differs(client, three_sets):
    other = client.predict(*SCENE, num_traj_samples=2, num_traj_sets=3, seed=4, **QUICK)
    assert other.cot.tolist() != three_sets.cot.tolist()
    assert apart(np.stack([other.pred_xyz.ravel(), three_sets.pred_xyz.ravel()])[..., None]) > 1e-2


def test_without_a_seed_one_is_drawn_and_returned(client):
    first, second = (client.predict(*SCENE, num_traj_samples=2, **QUICK) for _ in range(2))
    assert first.seed != second.seed
    assert not np.array_equal(first.pred_xyz, second.pred_xyz)
    assert_bit_equal(client.predict(*SCENE, num_traj_samples=2, seed=first.seed, **QUICK), first)


@pytest.mark.parametrize("how", [{"top_k": 1}, {"top_p": 0}, {"temperature": 1e-6}], ids=str)
def test_greedy_has_many_names_and_no_chance(client, how):
    noise = np.zeros((2, 64, 2), np.float32)
    ask = {"num_traj_samples": 2, "noise": noise, **QUICK}
    greedy = client.predict(*SCENE, temperature=0, seed=1, **ask)
    other = client.predict(*SCENE, **how, seed=2, **ask)
    np.testing.assert_array_equal(other.pred_xyz, greedy.pred_xyz)  # they tell the thoughts apart: see below
    np.testing.assert_allclose(greedy.pred_xyz[0, 0, 1], greedy.pred_xyz[0, 0, 0], atol=1e-4, rtol=0)


def test_heat_changes_the_thoughts_and_they_the_trajectories(client):
    noise = np.zeros((2, 64, 2), np.float32)
    hot = client.predict(*SCENE, num_traj_samples=2, noise=noise, temperature=5, top_p=1, seed=1, **QUICK)
    assert apart(hot.pred_xyz[0, 0]) > 1e-3
