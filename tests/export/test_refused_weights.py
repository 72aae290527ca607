"""Weights that do not fit their checkpoint's config: each is refused by its name."""

import pytest
import torch
from checkpoint_copy import put


def test_no_weights(copy):
    (copy.folder / "model.safetensors").unlink()
    assert "holds no *.safetensors" in copy.refusal()


def test_truncated_weights(copy):
    path = copy.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])
    message = copy.refusal()
    assert str(path) in message
    assert "cannot be read" in message


def test_a_missing_shard(copy):
    copy.shard(lambda name: "a.safetensors" if name.startswith("vlm.") else "b.safetensors")
    (copy.folder / "b.safetensors").unlink()
    assert "is not whole: b.safetensors of its index is not there" in copy.refusal()


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_index(copy, text):
    (copy.folder / "model.safetensors.index.json").write_text(text)
    assert "model.safetensors.index.json" in copy.refusal()


def test_every_weight_that_does_not_fit_is_listed(copy):
    def spoil(tensors):
        del tensors["expert.norm.weight"]
        del tensors["vlm.lm_head.weight"]
        tensors["expert.embed_tokens.weight"] = torch.zeros(7, 32)
        tensors["other"] = torch.zeros(())
        tensors["action_out_proj.weight"] = torch.zeros(3, 32)
        tensors["vlm.model.language_model.norm.weight"] = torch.zeros(63)

    message = copy.edit_weights(spoil).refusal()
    assert "6 weights do not fit" in message
    for line in (
        "missing: expert.norm.weight [32]",
        "missing: vlm.lm_head.weight [4442, 64]",
        "unknown: expert.embed_tokens.weight [7, 32]",
        "unknown: other []",
        "shape: action_out_proj.weight is [3, 32], the config makes it [2, 32]",
        "shape: vlm.model.language_model.norm.weight is [63], the config makes it [64]",
    ):
        assert f"\n  {line}" in message
    assert message.count("\n") == 6


def test_a_config_of_another_size_than_the_weights(copy):
    message = copy.edit_config(put(49, "action_in_proj_cfg", "hidden_size")).refusal()
    assert "action_in_proj.encoder.trunk.0.weight is [48, 60], the config makes it [49, 60]" in message


def test_weights_that_are_no_floats(copy):
    copy.edit_weights(lambda tensors: tensors.update({"expert.norm.weight": torch.ones(32, dtype=torch.int8)}))
    assert "expert.norm.weight is I8" in copy.refusal()
