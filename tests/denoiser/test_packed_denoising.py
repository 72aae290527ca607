"""What a trajectory sees in the packed sequence: the prompt, its thought, and itself; nothing else."""

from dataclasses import replace

import pytest
import torch
from contract import NO_OWNER, PROMPT_OWNER
from denoiser.request import DenoiserRequest

SAME = dict(rtol=0, atol=1e-5)
TIME = 0.3


def velocity(bind, request: DenoiserRequest) -> torch.Tensor:
    return bind(request)(request.noise, TIME).clone()


def trajectories(request: DenoiserRequest, *pick: int) -> DenoiserRequest:
    """The same packed sequence, only these trajectories."""
    rows = list(pick)
    return replace(
        request,
        action_owner=request.action_owner[rows],
        action_position=request.action_position[rows],
        noise=request.noise[rows],
    )


def tokens(request: DenoiserRequest, keep: torch.Tensor) -> DenoiserRequest:
    """The same trajectories, only these rows of the KV cache."""
    return replace(request, kv_cache=request.kv_cache[:, :, :, keep].contiguous(), kv_owner=request.kv_owner[keep])


def scrambled(request: DenoiserRequest, rows: torch.Tensor) -> DenoiserRequest:
    """With finite garbage in these rows."""
    kv = request.kv_cache.clone()
    kv[:, :, :, rows] = 50 * torch.randn(kv[:, :, :, rows].shape, generator=torch.Generator().manual_seed(0))
    return replace(request, kv_cache=kv)


@pytest.mark.parametrize("i", range(3))
def test_a_trajectory_denoised_among_others_equals_it_alone(bind, packed, i):
    together = velocity(bind, packed)[i]
    alone = trajectories(packed, i)
    torch.testing.assert_close(velocity(bind, alone)[0], together, **SAME)
    only_its_thought = tokens(alone, (packed.kv_owner == PROMPT_OWNER) | (packed.kv_owner == i))
    torch.testing.assert_close(velocity(bind, only_its_thought)[0], together, **SAME)


def test_the_order_of_trajectories_is_the_caller_s(bind, packed):
    shuffled = velocity(bind, trajectories(packed, 2, 0, 1))
    torch.testing.assert_close(shuffled, velocity(bind, packed)[[2, 0, 1]], **SAME)


def test_trajectories_of_one_thought_do_not_see_each_other(bind, packed):
    alone = velocity(bind, trajectories(packed, 1))[0]
    shared = trajectories(packed, 1, 1, 1)
    for noise in (100.0, 0.0):
        others = torch.full((2, 64, 2), noise)
        together = velocity(bind, replace(shared, noise=torch.cat([packed.noise[1:2], others])))
        torch.testing.assert_close(together[0], alone, **SAME)


def test_sets_share_the_thoughts(bind, packed):
    noise = torch.randn(6, 64, 2, generator=torch.Generator().manual_seed(0))
    sets = replace(trajectories(packed, 0, 1, 2, 0, 1, 2), noise=noise)
    together = velocity(bind, sets)
    for half in (slice(0, 3), slice(3, 6)):
        torch.testing.assert_close(together[half], velocity(bind, replace(packed, noise=noise[half])), **SAME)
    assert (together[:3] - together[3:]).abs().max() > 1e-2


def test_rows_of_nobody_do_not_matter(bind, packed):
    """A bucket's unused rows, wherever they are and whatever is in them; nor does the order of rows."""
    kv, owner = packed.kv_cache, packed.kv_owner
    order = torch.randperm(len(owner) + 40, generator=torch.Generator().manual_seed(0))
    nobody = torch.full((40,), NO_OWNER, dtype=torch.int32)
    padded = replace(
        packed,
        kv_cache=torch.cat([kv, torch.zeros_like(kv[:, :, :, :40])], dim=3)[:, :, :, order].contiguous(),
        kv_owner=torch.cat([owner, nobody])[order],
    )
    garbage = scrambled(padded, padded.kv_owner == NO_OWNER)
    wanted = velocity(bind, packed)
    torch.testing.assert_close(velocity(bind, padded), wanted, **SAME)
    torch.testing.assert_close(velocity(bind, garbage), wanted, **SAME)


@pytest.mark.parametrize("other", [1, 2])
def test_another_thought_s_rows_do_not_matter(bind, packed, other):
    wanted, found = velocity(bind, packed), velocity(bind, scrambled(packed, packed.kv_owner == other))
    for i in range(3):
        if i == other:
            assert (found[i] - wanted[i]).abs().max() > 1e-2
        else:
            torch.testing.assert_close(found[i], wanted[i], **SAME)


@pytest.mark.parametrize("owner", [PROMPT_OWNER, 0])
def test_the_prompt_and_the_own_thought_do_matter(bind, packed, owner):
    """The counterpart, so that the tests above can fail."""
    wanted, found = velocity(bind, packed), velocity(bind, scrambled(packed, packed.kv_owner == owner))
    assert (found[0] - wanted[0]).abs().max() > 1e-2


def test_waypoints_of_a_trajectory_see_each_other_both_ways(bind, packed):
    wanted = velocity(bind, packed)
    for changed, seen_by in ((63, 0), (0, 63)):
        noise = packed.noise.clone()
        noise[0, changed] += 3
        found = velocity(bind, replace(packed, noise=noise))
        assert (found[0, seen_by] - wanted[0, seen_by]).abs().max() > 1e-5
        torch.testing.assert_close(found[1:], wanted[1:], **SAME)


def test_position_counts_for_each_trajectory(bind, packed):
    """Positions are relative to the cached keys': another one gives another answer, and only for its trajectory."""
    moved = packed.action_position.clone()
    moved[1] += 100
    wanted, found = velocity(bind, packed), velocity(bind, replace(packed, action_position=moved))
    assert (found[1] - wanted[1]).abs().max() > 1e-4
    torch.testing.assert_close(found[[0, 2]], wanted[[0, 2]], **SAME)


def test_time_counts(bind, packed):
    run = bind(packed)
    assert (run(packed.noise, 0.0).clone() - run(packed.noise, 0.9)).abs().max() > 1e-2


@pytest.mark.parametrize(("prompt", "count"), [(1, 1), (7, 5), (500, 32)])
def test_any_number_of_tokens_and_trajectories(denoiser, bind_module, packed, prompt, count):
    """The graph is dynamic in both, and agrees with torch at every size."""
    generator = torch.Generator().manual_seed(0)
    request = DenoiserRequest(
        kv_cache=packed.kv_cache[:, :, :, :prompt].contiguous(),
        kv_owner=torch.full((prompt,), PROMPT_OWNER, dtype=torch.int32),
        action_owner=torch.zeros(count, dtype=torch.int32),
        action_position=torch.arange(count, dtype=torch.int32) * 1000,
        noise=torch.randn(count, 64, 2, generator=generator),
    )
    wanted = bind_module(request)(request.noise, TIME)
    torch.testing.assert_close(denoiser.bind(request)(request.noise, TIME), wanted, **SAME)


def test_a_bound_request_stays_as_it_is(denoiser, packed):
    """Bound once, run for every Euler step; another request bound between two steps changes nothing."""
    before = [tensor.clone() for tensor in vars(packed).values()]
    run = denoiser.bind(packed)
    first = run(packed.noise, TIME).clone()
    velocity(denoiser.bind, scrambled(trajectories(packed, 0), packed.kv_owner == 0))
    torch.testing.assert_close(run(packed.noise, TIME), first, rtol=0, atol=0)
    assert all(torch.equal(old, new) for old, new in zip(before, vars(packed).values(), strict=True))


def test_a_kv_cache_that_is_a_view_is_read_right(denoiser, packed):
    keep = len(packed.kv_owner) - 2
    view = replace(packed, kv_cache=packed.kv_cache[:, :, :, :keep], kv_owner=packed.kv_owner[:keep])
    wanted = velocity(denoiser.bind, replace(view, kv_cache=view.kv_cache.contiguous()))
    torch.testing.assert_close(velocity(denoiser.bind, view), wanted, rtol=0, atol=0)
