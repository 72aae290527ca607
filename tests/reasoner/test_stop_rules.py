"""When a thought ends, which of its tokens have KV, and where its actions begin; tokens are scripted, not sampled."""

import pytest
import torch
from contract import Cancelled

STOP, END, PROMPT = 4426, 400, 483  # <|traj_future_start|>, <|im_end|>, tokens of the prompt


def rows(thoughts, owner: int) -> int:
    return int((thoughts.kv_owner == owner).sum())


def action_index(scene, thoughts) -> list[int]:
    """Tokens before each thought's first action."""
    return (thoughts.action_position - scene.prompt.rope_delta).tolist()


def test_the_stop_token_ends_a_thought_and_has_kv(scene, scripted):
    thoughts = scene.generate(1, 8, scripted([5, 6, STOP, 7, 8, 9, 9, 9]))
    assert thoughts.tokens == [[5, 6, STOP]]
    assert thoughts.complete == [True]
    assert rows(thoughts, 0) == 3
    assert action_index(scene, thoughts) == [PROMPT + 3]


def test_the_stop_token_as_the_very_last_one_allowed_has_kv_too(scene, scripted, kv_of):
    last = scene.generate(1, 3, scripted([5, 6, STOP]))
    assert last.complete == [True]
    assert rows(last, 0) == 3
    assert action_index(scene, last) == [PROMPT + 3]
    torch.testing.assert_close(kv_of(last, 0), kv_of(scene.generate(1, 9, scripted([5, 6, STOP])), 0))


def test_the_limit_ends_a_thought_incomplete_and_its_last_token_has_no_kv(scene, scripted):
    thoughts = scene.generate(1, 4, scripted([5, 6, 7, 8]))
    assert thoughts.tokens == [[5, 6, 7, 8]]
    assert thoughts.complete == [False]
    assert rows(thoughts, 0) == 3
    assert action_index(scene, thoughts) == [PROMPT + 4]


def test_the_language_model_s_end_token_ends_a_thought_incomplete_and_has_no_kv(scene, scripted):
    thoughts = scene.generate(1, 8, scripted([5, 6, END, STOP, 5, 5, 5, 5]))
    assert thoughts.tokens == [[5, 6, END]]
    assert thoughts.complete == [False]
    assert rows(thoughts, 0) == 2
    assert action_index(scene, thoughts) == [PROMPT + 3]


@pytest.mark.parametrize(("token", "complete", "kv"), [(STOP, True, 1), (END, False, 0), (5, False, 0)])
def test_one_token(scene, scripted, token, complete, kv):
    thoughts = scene.generate(1, 1, scripted([token]))
    assert thoughts.tokens == [[token]]
    assert thoughts.complete == [complete]
    assert rows(thoughts, 0) == kv
    assert action_index(scene, thoughts) == [PROMPT + 1]


def test_a_thought_that_ends_early_does_not_alter_the_others(scene, scripted, kv_of):
    long = [5, 6, 7, 8, 9, STOP]
    for early in ([STOP] * 6, [END] * 6, [11, STOP, 5, STOP, 5, 5], [11, END, STOP, 5, 5, 5]):
        together = scene.generate(2, 6, scripted(early, long))
        alone = scene.generate(1, 6, scripted(long))
        assert together.tokens == [early[: len(together.tokens[0])], long]
        assert len(together.tokens[0]) == 1 + (early[0] == 11)
        assert rows(together, 0) == len(together.tokens[0]) - (END in together.tokens[0])
        assert together.action_position[1] == alone.action_position[0]
        torch.testing.assert_close(kv_of(together, 1), kv_of(alone, 0), rtol=0, atol=1e-5)


def test_nothing_is_computed_once_all_thoughts_have_ended(scene, scripted):
    steps, passes = [], []
    draw = scripted([5, STOP, 5, 5], [END, 5, 5, 5])
    scene.generate(2, 4, lambda x, step: steps.append(step) or draw(x, step), raise_if_stopped=lambda: passes.append(1))
    assert steps == [0, 1]
    assert len(passes) == 2


def test_trajectory_tokens_are_never_generated(scene):
    seen = []
    scene.generate(2, 3, lambda logits, step: seen.append(logits.clone()) or logits.argmax(-1))
    for logits in seen:
        impossible = (logits == -torch.inf).nonzero()[:, -1].unique()
        assert impossible.tolist() == list(range(414, 4414))


@pytest.mark.parametrize("calls", [0, 1, 2, 5])
def test_a_cancelled_thought_stops_at_the_next_forward_pass(scene, calls):
    left = [calls + len(scene.images)]  # it is also asked before every image

    def stop():
        left[0] -= 1
        if left[0] < 0:
            raise Cancelled("gone")

    passes = []
    embedding = scene.reasoner.model.get_input_embeddings()  # the first thing of a forward pass
    hook = embedding.register_forward_hook(lambda *_: passes.append(1))
    try:
        with pytest.raises(Cancelled, match="gone"):
            scene.reasoner.think(scene.request(temperature=1.5), 0, stop)
    finally:
        hook.remove()
    assert len(passes) == calls


def test_cancelling_given_thoughts(scene):
    calls = []
    scene.reasoner.think(scene.request(reasoning=["Slow down."]), 0, lambda: calls.append(1))
    assert len(calls) == len(scene.images) + 2  # before every image, the prompt, and the thoughts
