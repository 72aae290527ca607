"""The reasoner against the reference, case by case: images, prompt, logits, KV, thoughts."""

import pytest
import torch
from reasoner.images import preprocess
from reasoner.reasoner import Thoughts
from reasoner.sampling import next_tokens

TOLERANCE = dict(rtol=0, atol=1e-4)


def stop_length(golden, sample: int) -> int | None:
    """Tokens of a sample up to and including the stop token; None: there is none."""
    stop = golden.meta["lengths"][sample]
    return None if stop < 0 else stop - golden["prompt_ids"].shape[1] + 1


def generated(golden) -> torch.Tensor:
    return golden["sequences_raw"][:, golden["prompt_ids"].shape[1] :]


@pytest.fixture(scope="module")
def pixels(golden, golden_scene):
    settings = golden_scene.reasoner.settings
    return preprocess(golden_scene.images, settings.min_pixels, settings.max_pixels)


@pytest.fixture(scope="module")
def thoughts(golden, golden_scene) -> Thoughts:
    """Sampled through next_tokens where the reference was greedy; where it drew, its own tokens are given back."""
    tokens, settings = generated(golden), golden.meta

    def greedy(logits, step):
        uniform = torch.full((len(logits),), 0.7)
        return next_tokens(logits, uniform, settings["temperature"], settings["top_p"], settings["top_k"])

    sample = greedy if settings["top_k"] else lambda logits, step: tokens[:, step]
    return golden_scene.generate(settings["num_traj_samples"], settings["max_generation_length"], sample)


def test_first_image_is_cut_into_the_same_patches(golden, pixels):
    wanted = (golden["first_image_patches_u8"].float() / 255 - 0.5) / 0.5
    assert torch.equal(pixels[0][: len(wanted)], wanted)


def test_every_image_has_the_same_grid_and_mean(golden, pixels):
    pixel_values, grid = pixels
    assert torch.equal(grid, golden["image_grid_thw"])
    means = torch.stack([image.mean() for image in pixel_values.split(grid.prod(dim=1).tolist())])
    torch.testing.assert_close(means, golden["pixel_values_image_mean"], rtol=0, atol=1e-6)


def test_prompt_tokens_are_equal(golden, golden_scene):
    prompt = golden_scene.reasoner.tokenizer.prompt(golden["image_grid_thw"], golden["ego_history_xyz"][0, 0])
    assert torch.equal(prompt, golden["prompt_ids"])


def test_first_logits(golden, golden_scene):
    wanted = golden["first_logits"].clone()
    wanted[golden.meta["stop_token_id"]] -= golden.meta["stop_token_logit_bias"]
    logits = golden_scene.prompt.logits[0]
    assert torch.equal(logits == -torch.inf, wanted == -torch.inf)
    torch.testing.assert_close(logits, wanted, **TOLERANCE)  # equal infinities are close


def test_rope_delta(golden, golden_scene):
    assert golden_scene.prompt.rope_delta == golden["rope_deltas"][0, 0]


def test_prompt_kv(golden, thoughts, kv_of):
    torch.testing.assert_close(kv_of(thoughts, -1), golden["prompt_kv"], **TOLERANCE)


def test_generated_kv(golden, thoughts, kv_of):
    for i in range(golden.meta["num_traj_samples"]):
        wanted = golden["generated_kv"][:, i][:, :, :, : stop_length(golden, i)]
        torch.testing.assert_close(kv_of(thoughts, i), wanted, **TOLERANCE)


def test_thoughts_end_where_the_reference_ends_them(golden, thoughts):
    tokens = generated(golden)
    for i in range(golden.meta["num_traj_samples"]):
        assert thoughts.tokens[i] == tokens[i, : stop_length(golden, i)].tolist()
        assert thoughts.complete[i] == (stop_length(golden, i) is not None)  # no_stop_token: False


def test_actions_follow_each_thought(golden, thoughts):
    after = [golden["prompt_ids"].shape[1] + len(tokens) for tokens in thoughts.tokens]
    assert thoughts.action_position.tolist() == (torch.tensor(after) + golden["rope_deltas"][:, 0]).tolist()
    assert thoughts.action_position.dtype == torch.int32


def test_chains_of_causation_are_equal(golden, golden_scene, thoughts):
    texts = [golden_scene.reasoner.tokenizer.chain_of_causation(tokens) for tokens in thoughts.tokens]
    assert texts == golden.meta["cot"][0][0]
