"""alpamayo-verify sees a stage that computes otherwise, in the row of what was broken; its files are not looked at."""

from pathlib import Path

import onnx
import pytest
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.verify.reasoner import verify_weights
from alpamayo_export.verify.report import FAIL, failed
from alpamayo_export.verify.verify import verify
from checkpoint_copy import edited_json
from safetensors.torch import load_file, save_file
from verification import (
    DENOISER,
    REASONER,
    SEED,
    UNICYCLE,
    disturb,
    edit,
    failures,
    of_denoiser,
    of_reasoner,
    of_unicycle,
    replaced,
)

# The reasoner

PROMPT_TOKENS = "reasoner: prompt tokens that differ"
PROMPT_KV = "reasoner: prompt's KV cache"
LOGITS = "reasoner: logits"
PATCHES = "reasoner: patches, in levels of 255"
DECODED_ENDS = "reasoner: decoded thoughts that end elsewhere"


def edit_prompt(path: Path) -> None:
    with edited_json(path) as content:
        content["prompt"]["tail"] = content["prompt"]["tail"].replace("reasoning", "thinking")


def swap_tokens(path: Path) -> None:
    """Two letters that the prompt holds."""
    with edited_json(path) as content:
        vocab = content["model"]["vocab"]
        vocab["Y"], vocab["."] = vocab["."], vocab["Y"]


@pytest.mark.parametrize(
    ("file", "spoil", "fails"),
    [
        ("reasoner.json", edit_prompt, {PROMPT_TOKENS, PROMPT_KV}),
        ("tokenizer.json", swap_tokens, {PROMPT_TOKENS, PROMPT_KV}),
        ("reasoner.json", edit(history_bins=999), {PROMPT_TOKENS, PROMPT_KV}),
        ("reasoner.json", edit(history_xyz_min=[-5, -4, -10]), {PROMPT_TOKENS}),
        ("reasoner.json", edit(min_pixels=180000), {PATCHES}),
        ("reasoner.json", edit(max_pixels=170000), {PATCHES}),
        ("reasoner.json", edit(stop_token=300), {DECODED_ENDS}),
        ("reasoner.json", edit(trajectory_tokens=3999), {LOGITS}),
        ("config.json", replaced("5000000", "10000"), {PROMPT_KV, LOGITS}),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_a_reasoner_that_is_told_otherwise_fails(spoilt, opened, file, spoil, fails):
    """By what it computes: the files are not looked at here."""
    spoil(spoilt / REASONER / file)
    assert failures(of_reasoner(spoilt, opened)) >= fails


@pytest.mark.parametrize(
    "weight",
    [
        "model.language_model.layers.3.self_attn.q_proj.weight",  # the least that there is to see of any matrix
        "model.language_model.layers.0.mlp.down_proj.weight",
        "model.visual.blocks.0.attn.qkv.weight",
        "lm_head.weight",
    ],
)
def test_a_thousandth_of_noise_in_one_matrix_of_the_reasoner_is_seen(spoilt, opened, weight):
    path = spoilt / REASONER / "model.safetensors"
    tensors = load_file(path)
    disturb(tensors, weight)
    save_file(tensors, path)
    assert failures(of_reasoner(spoilt, opened)) & {PROMPT_KV, LOGITS}
    (row,) = verify_weights(spoilt / REASONER, opened)
    assert (row.verdict, row.error, row.note) == (FAIL, 1, weight)


def test_weights_that_are_missing_or_too_many_are_named(spoilt, opened):
    path = spoilt / REASONER / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_tail.weight"] = tensors.pop("lm_head.weight")
    save_file(tensors, path)
    (row,) = verify_weights(spoilt / REASONER, opened)
    assert (row.error, row.note) == (2, "lm_head.weight, lm_tail.weight")


# The denoiser

ONNX, TORCH = "denoiser on onnxruntime: velocity", "denoiser on torch: velocity"


@pytest.mark.parametrize("values", [{"rope_theta": 4.9e6}, {"rope_theta": 1e4}], ids=str)
def test_a_denoiser_that_is_told_otherwise_fails(spoilt, opened, values):
    edit(**values)(spoilt / DENOISER / "denoiser.json")
    assert failures(of_denoiser(spoilt, opened)) == {ONNX, TORCH}


def test_a_denoiser_of_other_heads_does_not_run(spoilt, opened):
    edit(heads=2)(spoilt / DENOISER / "denoiser.json")
    assert {"denoiser"} == {row.part for row in failed(verify(spoilt, opened, SEED)) if row.part.startswith("denoiser")}


@pytest.mark.parametrize(
    "weight",
    [
        "expert.layers.3.self_attn.v_proj.weight",  # the least that there is to see of any matrix
        "expert.layers.0.mlp.up_proj.weight",
        "action_in_proj.encoder.trunk.0.weight",
    ],
)
def test_a_thousandth_of_noise_in_one_matrix_of_the_denoiser_is_seen(copy, repository, weight):
    """The other way round, which is the same: the checkpoint is the one that changes."""
    copy.edit_weights(lambda tensors: disturb(tensors, weight))
    found = of_denoiser(repository, open_checkpoint(str(copy.folder)))
    assert failures(found) == {"denoiser: weights that differ", ONNX, TORCH}
    assert found["denoiser: weights that differ"].error == 1


def test_a_graph_that_reads_other_weights_fails_where_it_runs(spoilt, opened):
    """Two matrices of a layer's MLP, exchanged."""
    path = spoilt / DENOISER / "denoiser.onnx"
    graph = onnx.load(path, load_external_data=False)
    gate, up = (
        next(it for it in graph.graph.initializer if it.name == f"expert.layers.1.mlp.{name}_proj.weight")
        for name in ("gate", "up")
    )
    gate.name, up.name = up.name, gate.name
    onnx.save(graph, path)
    assert failures(of_denoiser(spoilt, opened)) == {ONNX}


def test_weights_that_are_another_bit_in_the_file_fail(spoilt, opened):
    path = spoilt / DENOISER / "denoiser.pt2"
    content = bytearray(path.read_bytes())
    weight = opened.denoiser_weights()["expert.layers.2.mlp.up_proj.weight"].numpy().tobytes()
    content[content.index(weight) + 2] ^= 1
    path.write_bytes(content)
    assert "denoiser" in {row.part.partition(":")[0] for row in failed(verify(spoilt, opened, SEED))}


# The unicycle


@pytest.mark.parametrize(
    "values",
    [
        {"accel_mean": 0.0291},
        {"accel_std": 0.6811},
        {"curvature_mean": 0.0002700},
        {"curvature_std": 0.02615},
        {"accel_bounds": [-9.8, 9.9]},
        {"curvature_bounds": [-0.34, 0.33]},
        {"dt": 0.1001},
        {"v_lambda": 2e-6},
        {"v_ridge": 2e-4},
    ],
    ids=str,
)
def test_a_unicycle_of_other_constants_fails(spoilt, opened, values):
    edit(**values)(spoilt / UNICYCLE / "unicycle.json")
    assert failures(of_unicycle(spoilt, opened))
