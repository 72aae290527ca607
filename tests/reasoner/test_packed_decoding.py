"""Thoughts decoded together are the thoughts decoded alone, and chance belongs to each of them."""

import pytest
import torch
from contract import NO_OWNER, PROMPT_OWNER
from reasoner.packed_sequence import KvMemory, PackedSequence
from reasoner.sampling import thought_uniforms, trajectory_noise

STOP = 4426
SAMPLED = dict(temperature=1.5, top_p=1.0, max_generation_length=12)
# Different from their first token on; the second one is the shortest.
TOKENS = [[5, 80, 300, 7, 7, STOP], [200, 11, STOP], [390, 2, 2, 41, STOP]]


def assert_same_thought(kv_of, packed, i, alone, j):
    assert packed.tokens[i] == alone.tokens[j]
    assert packed.complete[i] == alone.complete[j]
    assert packed.action_position[i] == alone.action_position[j]
    torch.testing.assert_close(kv_of(packed, i), kv_of(alone, j), rtol=0, atol=1e-5)


@pytest.mark.parametrize("i", range(3))
def test_a_packed_thought_equals_the_same_thought_alone(scene, scripted, kv_of, i):
    packed = scene.generate(3, 6, scripted(*TOKENS))
    assert_same_thought(kv_of, packed, i, scene.generate(1, 6, scripted(TOKENS[i])), 0)


def test_other_thoughts_do_not_change_the_logits_of_one(scene, scripted):
    def logits_of_the_first(*thoughts):
        seen = []
        draw = scripted(*thoughts)
        scene.generate(len(thoughts), 6, lambda logits, step: seen.append(logits[0].clone()) or draw(logits, step))
        return torch.stack(seen)

    alone = logits_of_the_first(TOKENS[0])
    for neighbours in (TOKENS[1:], [TOKENS[2], TOKENS[0]]):
        torch.testing.assert_close(logits_of_the_first(TOKENS[0], *neighbours), alone, rtol=0, atol=1e-5)


def test_thoughts_see_their_own_past(scene, scripted, kv_of):
    """The counterpart: another past gives another future, so that the tests above can fail."""
    one, two = (scene.generate(1, 4, scripted([first, 7, 7, 7])) for first in (5, 200))
    assert (kv_of(one, 0)[..., 2, :] - kv_of(two, 0)[..., 2, :]).abs().max() > 1e-2


def test_one_sampled_thought_is_the_first_of_many(scene, kv_of):
    one, three = scene.think(seed=3, samples=1, **SAMPLED), scene.think(seed=3, samples=3, **SAMPLED)
    assert_same_thought(kv_of, three, 0, one, 0)
    assert len({tuple(tokens) for tokens in three.tokens}) == 3


def test_the_same_seed_repeats_exactly_and_another_differs(scene):
    first, again, other = (scene.think(seed=seed, samples=2, **SAMPLED) for seed in (3, 3, 4))
    assert first.tokens == again.tokens
    assert torch.equal(first.kv_cache, again.kv_cache)
    assert other.tokens != first.tokens


def test_rows_are_the_prompt_then_a_place_for_each_token_of_each_thought(scene, scripted):
    thoughts = scene.generate(3, 6, scripted(*TOKENS))
    lengths = [len(tokens) for tokens in TOKENS]
    generated = [i if s < lengths[i] else NO_OWNER for s in range(6) for i in range(3)]
    assert thoughts.kv_owner.tolist() == [PROMPT_OWNER] * 483 + generated + [NO_OWNER] * (512 - 483 - 18)
    assert thoughts.kv_owner.dtype == torch.int32
    assert thoughts.kv_cache.shape == (4, 2, 2, 512, 16)
    assert thoughts.kv_cache.is_contiguous()


@pytest.mark.parametrize("how", ["generate", "recite"])
def test_rows_that_nobody_owns_are_zero(scene, scripted, kv_of, how):
    thoughts = scene.recite(TOKENS) if how == "recite" else scene.generate(3, 6, scripted(*TOKENS))
    assert kv_of(thoughts, NO_OWNER).count_nonzero() == 0
    for owner in range(-1, 3):
        assert kv_of(thoughts, owner).abs().amax(dim=-1).min() > 0


def placed(prompt: int, thoughts: int, length: int) -> PackedSequence:
    return KvMemory(2, 1, 2, torch.float32, torch.device("cpu"), stays=False).place(prompt, thoughts, length)


def test_mask_shows_the_prompt_and_the_own_past():
    sequence = placed(2, thoughts=2, length=2)
    sequence.owner[2:6] = torch.tensor([0, 1, NO_OWNER, 1])
    rows, owners = torch.arange(6), torch.tensor([PROMPT_OWNER, PROMPT_OWNER, 0, 1, 0, 1])
    seen = sequence.mask(rows, owners).int()
    assert seen[:, :6].tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 1, 0, 0, 0],  # thought 0 had ended; what is computed of it all the same becomes no NaN
        [1, 1, 0, 1, 0, 1],
    ]
    assert not seen[:, 6:].any()


@pytest.mark.parametrize(("steps", "rows"), [(1, 256), (100, 512), (171, 768)])
def test_handing_over_takes_the_smallest_bucket(steps, rows):
    sequence = placed(250, thoughts=2, length=200)
    assert len(sequence.owner) == 768
    sequence.owner[250:] = 0
    numbers = torch.arange(2 * 2 * 768.0).view(2, 2, 1, 768, 1).expand(-1, -1, -1, -1, 2)
    sequence.kv[...] = numbers
    kv, owner = sequence.hand_over(steps)
    assert len(owner) == rows
    assert torch.equal(kv, numbers[:, :, :, :rows])
    assert kv.is_contiguous()
    assert kv.data_ptr() == sequence.kv.data_ptr()  # no other memory is taken


def test_thought_streams_do_not_depend_on_how_many_or_how_long():
    many = thought_uniforms(7, thoughts=5, length=40)
    assert torch.equal(thought_uniforms(7, thoughts=2, length=40), many[:2])
    assert torch.equal(thought_uniforms(7, thoughts=5, length=9), many[:, :9])
    assert ((many >= 0) & (many < 1)).all()
    assert many.unique().numel() == many.numel()


def test_noise_streams_do_not_depend_on_how_many():
    many = trajectory_noise(7, sets=3, samples=4).unflatten(0, (3, 4))
    assert torch.equal(trajectory_noise(7, sets=2, samples=2).unflatten(0, (2, 2)), many[:2, :2])
    assert torch.equal(trajectory_noise(7, sets=3, samples=1).unflatten(0, (3, 1)), many[:, :1])
    assert many.dtype == torch.float32
    assert many.unique(dim=0).shape[0] == 3
    assert many.flatten(0, 1).unique(dim=0).shape[0] == 12


def test_another_seed_gives_other_streams():
    seeds = (0, 1, 2**32, 2**53 - 1)  # the second word of a seed counts too
    assert torch.stack([thought_uniforms(seed, 1, 8) for seed in seeds]).unique(dim=0).shape[0] == len(seeds)
    assert torch.stack([trajectory_noise(seed, 1, 1) for seed in seeds]).unique(dim=0).shape[0] == len(seeds)


def test_noise_is_standard_normal():
    noise = trajectory_noise(0, sets=20, samples=20)  # 51200 numbers
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert 3.5 < noise.abs().max() < 6
