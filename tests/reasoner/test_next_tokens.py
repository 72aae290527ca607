"""Drawing the next token, against the distribution that transformers' own logits processors make."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reasoner.sampling import next_tokens
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

GRID = 4000  # uniforms; a probability is known to about 1 / GRID
ALMOST_ONE = math.nextafter(1, 0)


def draw(logits, uniform, temperature=1.0, top_p=1.0, top_k=0) -> list[int]:
    """Tokens for every uniform number, of one row of logits."""
    uniform = torch.as_tensor(uniform, dtype=torch.float64)
    rows = torch.as_tensor(logits, dtype=torch.float32).expand(len(uniform), -1)
    return next_tokens(rows, uniform, temperature, top_p, top_k).tolist()


def reference(logits, temperature, top_p, top_k) -> torch.Tensor:
    """The probabilities that transformers' generate() would draw from."""
    scores = torch.tensor([logits])
    scores = TemperatureLogitsWarper(temperature)(None, scores)
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    return scores[0].softmax(-1).double()


def on_an_edge(logits, temperature, top_p, top_k) -> bool:
    """Whether rounding decides if a token belongs to the nucleus."""
    before = reference(logits, temperature, 1.0, top_k).sort(descending=True).values.cumsum(0)
    return bool(((before - top_p).abs() < 1e-4).any())


distinct_logits = st.lists(st.integers(-40, 40), min_size=2, max_size=9, unique=True).map(
    lambda tenths: [x / 10 for x in tenths]
)


@given(
    logits=distinct_logits,
    temperature=st.floats(0.1, 3),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    top_k=st.integers(0, 10),
)
@settings(deadline=None, max_examples=150, derandomize=True)
def test_distribution_is_the_reference_s(logits, temperature, top_p, top_k):
    assume(not on_an_edge(logits, temperature, top_p, top_k))
    wanted = reference(logits, temperature, top_p, top_k)
    uniforms = (np.arange(GRID) + 0.5) / GRID
    drawn = np.bincount(draw(logits, uniforms, temperature, top_p, top_k), minlength=len(logits)) / GRID
    assert not drawn[wanted.numpy() == 0].any()
    assert np.abs(drawn - wanted.numpy()).max() <= 2 / GRID


@pytest.mark.parametrize("top_k", [4, 5, 2**40, 2**63 - 1])
def test_top_k_of_the_whole_vocabulary_and_more_is_no_limit(top_k):
    uniforms = np.linspace(0, ALMOST_ONE, 50)
    assert draw([0.0, 1.0, 0.5, -1.0], uniforms, top_k=top_k) == draw([0.0, 1.0, 0.5, -1.0], uniforms)


def test_temperature_comes_before_top_p():
    # At temperature 1 the first token alone has 0.84; at 3 it has 0.56, and the second is needed to reach 0.8.
    logits = [2.0, 0.0, -1.0]
    assert set(draw(logits, [0, 0.5, ALMOST_ONE], 1.0, 0.8)) == {0}
    assert set(draw(logits, [0, 0.5, ALMOST_ONE], 3.0, 0.8)) == {0, 1}


def test_top_p_counts_what_top_k_left():
    # The first token has 0.4 of all three, and 0.533 of the likeliest two.
    logits = np.log([0.4, 0.35, 0.25])
    assert set(draw(logits, [0, ALMOST_ONE], top_p=0.5)) == {0, 1}
    assert set(draw(logits, [0, ALMOST_ONE], top_p=0.5, top_k=2)) == {0}


def test_the_token_that_crosses_top_p_is_kept():
    logits = np.log([0.5, 0.3, 0.2])
    assert set(draw(logits, np.linspace(0, ALMOST_ONE, 50), top_p=0.6)) == {0, 1}


@pytest.mark.parametrize("top_p", [0.0, 1e-9])
def test_top_p_keeps_at_least_one_token(top_p):
    assert set(draw([0.0, 1.0, 0.5], [0, 0.5, ALMOST_ONE], top_p=top_p)) == {1}


@pytest.mark.parametrize("limits", [dict(temperature=0.0), dict(top_k=1), dict(temperature=0.0, top_k=3, top_p=0.5)])
def test_greedy(limits):
    assert draw([0.1, 3.0, 2.9, -torch.inf], [0, 0.5, ALMOST_ONE], **limits) == [1, 1, 1]


@pytest.mark.parametrize("temperature", [1e-5, 1e-30, 1e-40, 1e-50, 5e-324])
def test_a_tiny_temperature_is_greedy(temperature):
    assert draw([-1e4, 30.0, 29.9, -torch.inf], [0, 0.5, ALMOST_ONE], temperature) == [1, 1, 1]


def test_a_high_temperature_is_uniform():
    drawn = draw([-30.0, 30.0, 0.0, 5.0], (np.arange(400) + 0.5) / 400, temperature=1e6)
    assert np.bincount(drawn, minlength=4).tolist() == [100] * 4


@given(
    logits=st.lists(st.one_of(st.just(-math.inf), st.floats(-5, 5, width=32)), min_size=1, max_size=8),
    uniform=st.one_of(st.just(0.0), st.just(ALMOST_ONE), st.floats(0, ALMOST_ONE)),
    top_p=st.floats(0, 1),
    top_k=st.integers(0, 9),
)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_an_impossible_token_is_never_drawn(logits, uniform, top_p, top_k):
    assume(max(logits) > -math.inf)
    (token,) = draw(logits, [uniform], top_p=top_p, top_k=top_k)
    assert logits[token] > -math.inf


def test_uniform_0_is_the_likeliest_and_almost_1_the_least_likely():
    logits = [0.0, 2.0, -1.0, -torch.inf, 1.0]
    assert draw(logits, [0.0]) == [1]
    assert draw(logits, [ALMOST_ONE]) == [2]
    assert draw(logits, [ALMOST_ONE], top_k=2) == [4]


def test_rounding_never_leaves_a_large_vocabulary():
    logits = torch.randn(155_697, generator=torch.Generator().manual_seed(0))
    logits[1000:5000] = -torch.inf
    tokens = draw(logits, [0, 0.5, 0.9999999, ALMOST_ONE])
    assert all(0 <= token < len(logits) and logits[token] > -torch.inf for token in tokens)


def test_each_token_s_share_of_the_uniforms_begins_with_its_first_and_ends_before_the_next_one_s():
    assert draw([1.0, 1.0, 1.0, 1.0], [0, 0.25, 0.5, 0.75]) == [0, 1, 2, 3]


def test_tied_tokens_share_alike_in_their_order():
    drawn = draw([1.0, 1.0, 1.0, 1.0], (np.arange(400) + 0.5) / 400)
    assert drawn == sorted(drawn)
    assert np.bincount(drawn).tolist() == [100] * 4


def test_ties_at_the_limits_are_cut_to_the_first():
    assert set(draw([1.0, 1.0, 1.0], np.linspace(0, ALMOST_ONE, 9), top_k=2)) == {0, 1}
    assert set(draw([1.0, 1.0, 1.0], np.linspace(0, ALMOST_ONE, 9), top_p=0.5)) == {0, 1}


def test_rows_are_drawn_each_for_itself():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 0.0, -torch.inf]])
    uniform = torch.tensor([0.1, 0.1, 0.9], dtype=torch.float64)
    together = next_tokens(logits, uniform, 0.6, 0.98, 0).tolist()
    assert together == [next_tokens(logits[i : i + 1], uniform[i : i + 1], 0.6, 0.98, 0).item() for i in range(3)]
    assert together == [2, 0, 1]


def test_logits_are_left_as_they_were():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    next_tokens(logits, torch.tensor([0.3]), 0.6, 0.5, 2)
    assert logits.tolist() == [[0, 1, 2]]


def test_the_largest_uniform_stays_within_shares_that_sum_to_more_than_one():
    """Equal shares of 1 / n, rounded up for some n: nothing may be drawn from behind the last one."""
    almost_one = torch.tensor([1 - 2**-53], dtype=torch.float64)
    for n in range(1, 2000):
        logits = torch.zeros(1, n + 1)
        logits[:, n] = -torch.inf
        assert next_tokens(logits, almost_one, 1.0, 1.0, 0).tolist() == [n - 1]


def test_a_network_that_computes_nan_draws_some_token_all_the_same():
    """An index behind the vocabulary would end a GPU's process; the denoiser refuses the KV that comes of it."""
    for n in (1000, 1001):
        (token,) = next_tokens(torch.full((1, n), torch.nan), torch.tensor([0.5]), 0.6, 1.0, 0).tolist()
        assert 0 <= token < n
