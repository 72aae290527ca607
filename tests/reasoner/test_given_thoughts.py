"""A thought that is given is the thought that would have been generated, but for the generating."""

import pytest
import torch
from contract import InvalidRequest
from reasoner.reasoner import Reasoner

TOKENS = [[5, 80, 300, 7, 4426], [200, 4426], [390, 2, 2, 41, 17, 4426]]
SENTENCE = "Slow down."


def assert_same_thoughts(kv_of, one, other):
    assert one.tokens == other.tokens
    assert one.complete == other.complete
    assert torch.equal(one.action_position, other.action_position)
    for owner in range(-1, len(one.tokens)):
        torch.testing.assert_close(kv_of(one, owner), kv_of(other, owner), rtol=0, atol=1e-4)


def test_reciting_generated_tokens_gives_their_kv_and_positions(scene, scripted, kv_of):
    generated = scene.generate(3, 6, scripted(*TOKENS))
    assert_same_thoughts(kv_of, scene.recite(generated.tokens), generated)


def test_thoughts_recited_together_equal_each_alone(scene, kv_of):
    together = scene.recite(TOKENS)
    for i, tokens in enumerate(TOKENS):
        torch.testing.assert_close(kv_of(together, i), kv_of(scene.recite([tokens]), 0), rtol=0, atol=1e-5)


@torch.no_grad()
def teach(scene, scripted, tokens: list[int]) -> None:
    """Makes greedy decoding of this scene say these tokens: solves the last layer for them.

    Hidden states do not depend on that layer, so those at the thought's steps are known: its row of each token is the
    least squares solution of 1 where the token is next, and 0 elsewhere.
    """
    lm_head = scene.reasoner.model.lm_head
    states = []
    hook = lm_head.register_forward_hook(lambda module, inputs, output: states.append(inputs[0].clone()))
    try:
        scene.generate(1, len(tokens), scripted(tokens))
    finally:
        hook.remove()
    hidden = torch.cat(states[:-1]).double()  # before each token
    said = sorted(set(tokens))
    wanted = torch.tensor([[float(token == row) for row in said] for token in tokens]).double()
    lm_head.weight.zero_()
    lm_head.weight[said] = torch.linalg.lstsq(hidden, wanted).solution.T.float()


@pytest.fixture(scope="module")
def taught(reasoner_folder, scene, scripted):
    """The scene, with a reasoner of its own that says SENTENCE of it."""
    taught = scene.of(Reasoner(reasoner_folder, torch.device("cpu")))
    teach(taught, scripted, taught.reasoner.tokenizer.thought(SENTENCE, "reasoning[0]"))
    return taught


def test_a_given_thought_equals_the_same_thought_generated(taught, kv_of):
    generated = taught.think(temperature=0)
    assert taught.reasoner.tokenizer.chain_of_causation(generated.tokens[0]) == SENTENCE
    assert generated.complete == [True]
    assert_same_thoughts(kv_of, taught.think(reasoning=[SENTENCE]), generated)


def test_a_given_thought_does_not_ask_the_network_what_to_say(taught, scene, kv_of):
    """The other reasoner never says SENTENCE; its KV of it is the same."""
    assert scene.think(temperature=0).tokens != taught.think(temperature=0).tokens
    assert_same_thoughts(kv_of, scene.think(reasoning=[SENTENCE]), taught.think(reasoning=[SENTENCE]))


def test_given_thoughts_do_not_change_one_another(scene, kv_of):
    texts = [SENTENCE, "", "Yield to the pedestrian ahead; then turn left."]
    together = scene.think(reasoning=texts)
    for i, text in enumerate(texts):
        alone = scene.think(reasoning=[text])
        torch.testing.assert_close(kv_of(together, i), kv_of(alone, 0), rtol=0, atol=1e-5)
        assert together.action_position[i] == alone.action_position[0]


@pytest.mark.parametrize(
    "text", [SENTENCE, "", "a", "Vorsicht: Fußgänger!", "減速して、左に曲がる。", "🚸 → 30 km/h", "a\nb  c"]
)
def test_text_comes_back(reasoner, text):
    assert reasoner.tokenizer.chain_of_causation(reasoner.tokenizer.thought(text, "reasoning[0]")) == text


def test_a_thought_ends_with_its_end_and_the_stop_token(reasoner):
    cot_end = reasoner.tokenizer._encode("<|cot_end|>")
    assert reasoner.tokenizer.thought("", "reasoning[0]") == [*cot_end, reasoner.settings.stop_token]
    assert reasoner.tokenizer.thought("a", "reasoning[0]") == [
        *reasoner.tokenizer._encode("a"),
        *cot_end,
        reasoner.settings.stop_token,
    ]


@pytest.mark.parametrize(
    "special", ["<|cot_end|>", "<|traj_future_start|>", "<|im_end|>", "<|image_pad|>", "<i0>", "<|traj_history|>"]
)
def test_special_tokens_are_refused(scene, special):
    with pytest.raises(InvalidRequest) as refused:
        scene.think(reasoning=["fine", f"Slow {special} down."])
    assert "reasoning" in str(refused.value)
    assert special in str(refused.value)


def test_a_thought_longer_than_the_repository_allows_is_refused(scene):
    longest = scene.reasoner.settings.max_generation_length
    letters = "Q" * (longest - 2)
    assert len(scene.reasoner.tokenizer.thought(letters, "reasoning[0]")) == longest
    with pytest.raises(InvalidRequest, match=rf"reasoning\[0\] is too long: {longest + 1} tokens .* at most {longest}"):
        scene.think(reasoning=[letters + "Q"])


def test_megabytes_are_refused_before_they_are_tokenized(scene):
    for text in ("a b " * 1_000_000, "<|cot_end|>" * 1_000_000):
        with pytest.raises(InvalidRequest, match=rf"reasoning\[0\] is too long: {len(text)} bytes; .* tokens"):
            scene.think(reasoning=[text])


def test_a_refusal_repeats_no_long_text(scene):
    with pytest.raises(InvalidRequest, match="holds the special tokens") as refused:
        scene.think(reasoning=["<|cot_end|>" * 200])
    assert len(str(refused.value)) < 400


def test_refused_before_any_model_work(scene):
    def fail(*_):
        raise AssertionError("the network ran")

    hook = scene.reasoner.model.model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(InvalidRequest):
            scene.think(reasoning=["<|cot_end|>"])
    finally:
        hook.remove()
