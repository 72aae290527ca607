"""The denoiser on its own: five tensors that do not fit each other, or the repository, are refused by name."""

from dataclasses import replace

import pytest
import torch
from contract import NO_OWNER, InvalidRequest
from denoiser.request import MAX_POSITION, DenoiserRequest, check_request, example_request


@pytest.fixture(scope="module")
def good(settings) -> DenoiserRequest:
    """Ten tokens: seven of the prompt, one of each of two thoughts, one of nobody; four trajectories."""
    request = example_request(settings, tokens=10, trajectories=4, device=torch.device("cpu"))
    request.kv_owner[7:] = torch.tensor([0, 1, NO_OWNER])
    request.action_owner[:] = torch.tensor([0, 1, 0, 1])
    return request


@pytest.fixture(scope="module")
def refusal(good, settings):
    def refusal(limits=settings, **tensors) -> str:
        with pytest.raises(InvalidRequest) as refused:
            check_request(replace(good, **tensors), limits)
        return str(refused.value)

    return refusal


def changed(tensor, index, value):
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


def owners(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def test_a_good_request(good, settings):
    check_request(good, settings)


def test_the_limits_belong_to_the_range(good, settings):
    check_request(good, replace(settings, max_kv_tokens=10, max_trajectories=4))


def test_the_example_is_a_good_request(settings):
    for tokens, trajectories in ((1, 1), (settings.max_kv_tokens, settings.max_trajectories)):
        check_request(example_request(settings, tokens, trajectories, torch.device("cpu")), settings)


def test_more_tokens_than_exported_for(refusal, settings):
    message = refusal(limits=replace(settings, max_kv_tokens=9))
    assert "kv_owner must have 1 .. 9 tokens" in message
    assert "got 10" in message


def test_more_trajectories_than_exported_for(refusal, settings):
    message = refusal(limits=replace(settings, max_trajectories=3))
    assert "action_owner must have 1 .. 3 trajectories" in message
    assert "got 4" in message


def test_no_tokens(refusal, good):
    message = refusal(kv_owner=owners(), kv_cache=good.kv_cache[:, :, :, :0])
    assert "kv_owner must have 1 .. " in message
    assert "got 0" in message


def test_no_trajectories(refusal, good):
    message = refusal(action_owner=owners(), action_position=owners(), noise=good.noise[:0])
    assert "action_owner must have 1 .. 32 trajectories" in message
    assert "got 0" in message


@pytest.mark.parametrize("tokens", [9, 11])
def test_another_number_of_kv_rows_than_owners(refusal, good, tokens):
    kv = torch.zeros(*good.kv_cache.shape[:3], tokens, good.kv_cache.shape[4])
    message = refusal(kv_cache=kv)
    assert f"kv_cache holds {tokens} tokens, kv_owner 10" in message


@pytest.mark.parametrize("count", [3, 5])
def test_another_number_of_positions_than_trajectories(refusal, count):
    message = refusal(action_position=torch.zeros(count, dtype=torch.int32))
    assert "action_position must have shape (4,)" in message
    assert f"got ({count},)" in message


@pytest.mark.parametrize("shape", [(3, 64, 2), (5, 64, 2), (4, 63, 2), (4, 64, 3), (4, 128)])
def test_noise_of_a_wrong_shape(refusal, shape):
    message = refusal(noise=torch.zeros(shape))
    assert "noise must have shape (4, 64, 2)" in message
    assert str(shape) in message


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_noise_that_is_not_finite(refusal, good, bad):
    assert "noise must be finite; got" in refusal(noise=changed(good.noise, (2, 5, 1), bad))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("row", [0, 8, 9])
def test_kv_that_is_not_finite(refusal, good, row, bad):
    """In the rows of nobody too: a mask hides -inf, but not NaN."""
    assert "kv_cache must be finite" in refusal(kv_cache=changed(good.kv_cache, (3, 1, 0, row, 7), bad))


def test_infinities_that_cancel(refusal, good):
    kv = changed(changed(good.kv_cache, (0, 0, 0, 0, 0), torch.inf), (0, 0, 0, 0, 1), -torch.inf)
    assert "kv_cache must be finite" in refusal(kv_cache=kv)


@pytest.mark.parametrize("extreme", [3.4e38, -3.4e38, 2e6])
def test_kv_that_would_overflow(refusal, good, extreme):
    message = refusal(kv_cache=changed(good.kv_cache, (3, 1, 0, 2, 7), extreme))
    assert "kv_cache must be finite and within +-1e+06" in message
    assert f"{extreme:g}" in message


def test_owners_of_no_meaning(refusal, good):
    message = refusal(kv_owner=changed(good.kv_owner, 3, -3))
    assert "kv_owner must lie in -2 .. " in message
    assert "got -3" in message
    assert ".. 2147483647" in refusal(kv_owner=changed(good.kv_owner, 3, 2**31 - 1))


@pytest.mark.parametrize("owner", [-1, -2])
def test_a_trajectory_of_no_thought(refusal, good, owner):
    message = refusal(action_owner=changed(good.action_owner, 1, owner))
    assert "action_owner must be 0 or more" in message
    assert f"got {owner}" in message


def test_no_prompt(refusal, good):
    message = refusal(kv_owner=changed(good.kv_owner, slice(0, 7), 0))
    assert "kv_owner must mark the prompt's tokens with -1" in message


def test_a_thought_that_cannot_be(refusal, good, settings):
    """Thoughts count from 0, and there are never more of them than trajectories."""
    message = refusal(action_owner=changed(good.action_owner, 1, settings.max_trajectories))
    assert "action_owner" in message
    assert str(settings.max_trajectories) in message


@pytest.mark.parametrize("position", [-1, MAX_POSITION + 1, 2**31 - 1, -(2**31)])
def test_positions_out_of_range(refusal, good, position):
    message = refusal(action_position=changed(good.action_position, 2, position))
    assert f"action_position must lie in 0 .. {MAX_POSITION}" in message
    assert str(position) in message


def test_a_thought_without_a_token_of_its_own_still_has_a_trajectory(good, settings, denoiser):
    """What the reasoner hands over where a thought's only token is an end token, or the last one allowed."""
    request = replace(good, kv_owner=changed(good.kv_owner, 8, NO_OWNER))
    check_request(request, settings)
    assert denoiser.bind(request)(request.noise, 0.0).isfinite().all()
