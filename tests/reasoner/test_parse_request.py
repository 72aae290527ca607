"""A request's noise, thoughts and limits: every bad one is refused with what came and what was wanted."""

from dataclasses import replace

import numpy as np
import pytest
from parsing import changed

# What a good request becomes


def test_a_good_request(parse, good):
    request = parse()
    assert request.num_traj_samples == 1
    assert request.max_generation_length == 256
    assert request.noise is None
    assert request.reasoning is None
    assert np.array_equal(request.ego_history_xyz, good["ego_history_xyz"])


def test_given_thoughts_count_themselves(parse):
    texts = np.array([b"Slow down.", b"", "Fußgänger".encode()], dtype=object)
    request = parse({"reasoning": texts})
    assert request.num_traj_samples == 3
    assert request.reasoning == ["Slow down.", "", "Fußgänger"]
    assert parse({"reasoning": texts}, num_traj_samples=3).num_traj_samples == 3


def test_the_generation_length_is_at_most_the_repository_s(parse, settings):
    short = replace(settings, max_generation_length=40)
    long = replace(settings, max_generation_length=1000)
    assert parse(limits=short).max_generation_length == 40
    assert parse(limits=long).max_generation_length == 256
    assert parse(limits=long, max_generation_length=1000).max_generation_length == 1000


# Noise, thoughts, limits


@pytest.mark.parametrize("shape", [(5, 64, 2), (6, 63, 2), (6, 64, 3), (6, 128), (1, 6, 64, 2)])
def test_noise_of_a_wrong_shape(refusal, parse, shape):
    parse({"noise": np.zeros((6, 64, 2), np.float32)}, num_traj_samples=3, num_traj_sets=2)
    message = refusal({"noise": np.zeros(shape, np.float32)}, num_traj_samples=3, num_traj_sets=2)
    assert "noise must have shape (6, 64, 2)" in message
    assert str(shape) in message


def test_noise_counts_given_thoughts(parse, refusal):
    texts = np.array([b"a", b"b"], dtype=object)
    parse({"reasoning": texts, "noise": np.zeros((4, 64, 2), np.float32)}, num_traj_sets=2)
    message = refusal({"reasoning": texts, "noise": np.zeros((2, 64, 2), np.float32)}, num_traj_sets=2)
    assert "noise must have shape (4, 64, 2)" in message


def test_noise_that_is_not_finite(refusal):
    noise = changed(np.zeros((1, 64, 2), np.float32), (0, 5, 1), np.inf)
    assert "noise must be finite; got inf at [0, 5, 1]" in refusal({"noise": noise})


def test_more_thoughts_than_samples(refusal):
    message = refusal({"reasoning": np.array([b"a", b"b"], dtype=object)}, num_traj_samples=1)
    assert "reasoning holds 2 thoughts" in message
    assert "num_traj_samples is 1" in message


@pytest.mark.parametrize("shape", [(0,), (1, 2)])
def test_thoughts_of_a_wrong_shape(refusal, shape):
    message = refusal({"reasoning": np.full(shape, b"a", dtype=object)})
    assert "reasoning must have shape (n,)" in message
    assert str(shape) in message


def test_a_thought_that_is_no_utf_8(refusal):
    message = refusal({"reasoning": np.array([b"fine", b"\xff\xfe"], dtype=object)})
    assert "reasoning[1] must be UTF-8" in message


@pytest.mark.parametrize(
    ("sets", "samples", "said"),
    [
        (1, 33, "num_traj_samples x num_traj_sets is 33 x 1"),
        (33, 1, "num_traj_sets x num_traj_samples is 33 x 1"),
        (4, 9, "num_traj_samples x num_traj_sets is 9 x 4"),
        (10**9, 1, "num_traj_sets x num_traj_samples is 1000000000 x 1"),
        (10**9, 10**9, "num_traj_samples x num_traj_sets is 1000000000 x 1000000000"),
    ],
)
def test_too_many_trajectories(refusal, parse, sets, samples, said):
    assert parse(num_traj_sets=4, num_traj_samples=8).num_traj_samples == 8
    message = refusal(num_traj_sets=sets, num_traj_samples=samples)
    assert message.startswith(said)
    assert "at most 32 trajectories" in message


def test_too_many_given_thoughts(refusal):
    message = refusal({"reasoning": np.full((17,), b"a", dtype=object)}, num_traj_sets=2)
    assert "is 17 x 2" in message


def test_too_long_a_generation(refusal):
    message = refusal(max_generation_length=257)
    assert "max_generation_length is 257" in message
    assert "at most 256" in message


def test_bad_parameters_are_refused_here_too(refusal):
    assert "unknown request parameter 'num_samples'" in refusal(num_samples=3)
    assert "temperature must be a number" in refusal(temperature="hot")
