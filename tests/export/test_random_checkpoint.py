"""A checkpoint of random weights is one in the released layout, and can be exported as any other."""

import json
from pathlib import Path

import alpamayo_export.shards
import pytest
import torch
from alpamayo_export.checkpoint import open_checkpoint, weight_shapes
from alpamayo_export.layout import QWEN_TOKENS, SMALL_TOKENS, make_tokenizer, write_layout
from alpamayo_export.limits import Limits
from alpamayo_export.make_checkpoint import main
from alpamayo_export.random_checkpoint import FIRST_QWEN_TOKEN, _released
from alpamayo_export.repository import REASONER, write_reasoner_weights
from alpamayo_export.settings import Target, write_settings
from alpamayo_export.vlm import build_tokenizer, render_prompt
from baseline import Baseline
from checkpoint_copy import CheckpointCopy
from reasoner.reasoner import Reasoner
from safetensors import SafetensorError
from safetensors.torch import load_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "checkpoint"


def released_layout(folder: Path, layers: int) -> Path:
    """As `released` has it, without weights, which would be gigabytes; and the vocabulary's first tokens only."""
    tokenizer = make_tokenizer([], SMALL_TOKENS)
    write_layout(folder, _released(layers), tokenizer)
    return folder


def test_a_tiny_one_is_exported(tiny, tiny_repository):
    assert open_checkpoint(str(tiny)).config.history_tokenizer.num_bins == 1000
    assert (tiny_repository / "alpamayo_denoiser" / "1" / "denoiser.onnx").exists()


def test_what_does_not_depend_on_the_size_is_as_released(tiny):
    made, golden = (json.loads((folder / "config.json").read_text()) for folder in (tiny, GOLDEN))
    ids = {name: token - made["traj_token_start_idx"] for name, token in made["traj_token_ids"].items()}
    assert ids == {name: token - golden["traj_token_start_idx"] for name, token in golden["traj_token_ids"].items()}
    for name in ("min_pixels", "max_pixels", "traj_vocab_size", "tokens_per_history_traj", "tokens_per_future_traj"):
        assert made[name] == golden[name]
    for part in ("action_space_cfg", "hist_traj_tokenizer_cfg", "traj_tokenizer_cfg", "diffusion_cfg"):
        for name, value in made[part].items():
            if name != "action_space_cfg":
                assert golden[part][name] == value, (part, name)


def test_the_released_shapes_are_the_releaseds(tmp_path):
    """A count of what was released: 8.77 billion parameters in Qwen3-VL with a larger vocabulary, 2.28 in the rest."""
    _, shapes = weight_shapes(released_layout(tmp_path / "released", 36))
    count = {part: 0 for part in ("vlm.", "")}
    for name, shape in shapes.items():
        count["vlm." if name.startswith("vlm.") else ""] += torch.Size(shape).numel()
    assert count[""] == pytest.approx(2.28e9, rel=0.01)
    vocabulary = shapes["vlm.lm_head.weight"][0]
    assert count["vlm."] - 2 * 4096 * vocabulary == pytest.approx(8.77e9 - 2 * 4096 * 151936, rel=0.01)
    assert shapes["expert.layers.35.mlp.gate_proj.weight"] == (8256, 2048)
    assert shapes["expert.layers.35.self_attn.k_proj.weight"] == (1024, 2048)
    assert shapes["vlm.model.visual.blocks.26.attn.qkv.weight"] == (3456, 1152)


def test_the_released_vocabulary_has_its_tokens_where_they_are(tmp_path):
    tokenizer = make_tokenizer([], QWEN_TOKENS, FIRST_QWEN_TOKEN)
    write_layout(tmp_path, _released(1), tokenizer)
    config, _ = weight_shapes(tmp_path)
    assert (config.traj_token_start_idx, config.vocab_size) == (151669, 155697)
    built = build_tokenizer(tmp_path / "vlm", config)
    known = {"<|endoftext|>": 151643, "<|im_end|>": 151645, "<|vision_start|>": 151652, "<|image_pad|>": 151655}
    assert {token: built.convert_tokens_to_ids(token) for token in known} == known
    prompt = render_prompt(built)
    ids = built(prompt.head + prompt.tail, add_special_tokens=False).input_ids
    assert built.decode(ids) == prompt.head + prompt.tail


def test_weights_depend_on_the_seed_alone_and_come_in_shards(tiny, tmp_path, monkeypatch):
    whole = load_file(tiny / "model.safetensors")
    monkeypatch.setattr(alpamayo_export.shards, "SHARD_BYTES", 1_000_000)
    assert main(["tiny", "--output", str(tmp_path / "same")]) == 0
    assert main(["tiny", "--output", str(tmp_path / "other"), "--seed", "1"]) == 0
    shards = sorted((tmp_path / "same").glob("*.safetensors"))
    assert len(shards) > 2
    assert max(path.stat().st_size for path in shards[:-1]) < 1_600_000  # the largest tensor alone has 1.1 MB
    same = {name: tensor for path in shards for name, tensor in load_file(path).items()}
    assert same.keys() == whole.keys()
    assert all(torch.equal(same[name], whole[name]) for name in whole)
    open_checkpoint(str(tmp_path / "same"))
    other = open_checkpoint(str(tmp_path / "other")).weights.read(["vlm.lm_head.weight"])
    assert not torch.equal(other["vlm.lm_head.weight"], whole["vlm.lm_head.weight"])


@pytest.mark.parametrize(("precision", "offload"), [("fp32", ()), ("bf16", ("embedding", "vision"))])
def test_without_the_vlm_its_weights_are_drawn_when_it_is_loaded(tiny, tmp_path, precision, offload):
    """The same ones as if they had been written, buffers too, and the models think alike."""
    assert main(["tiny", "--without-vlm", "--output", str(tmp_path / "checkpoint")]) == 0
    kept = load_file(tmp_path / "checkpoint" / "model.safetensors")
    whole = load_file(tiny / "model.safetensors")
    assert kept.keys() == {name for name in whole if not name.startswith("vlm.")}
    assert all(torch.equal(kept[name], whole[name]) for name in kept)

    loaded, said = {}, []
    target = Target(precision, "torch", Limits(2, 2, 8), offload, gpu=False)
    for name, source in {"written": tiny, "drawn": tmp_path / "checkpoint"}.items():
        opened, folder = open_checkpoint(str(source)), tmp_path / name / REASONER / "1"
        write_settings(opened, tmp_path / name, target)
        if name == "written":
            write_reasoner_weights(opened.weights, folder)
        loaded[name] = Reasoner(folder, torch.device("cpu"), log=said.append).model
    assert any("random weights (seed 0)" in it for it in said)
    if precision == "fp32":  # bf16 is drawn as bf16, and this checkpoint's type is float32
        written, drawn = (dict(model.state_dict()) for model in loaded.values())
        assert all(torch.equal(written[name], drawn[name]) for name in written)
    written, drawn = (dict(model.named_buffers()) for model in loaded.values())
    assert all(torch.equal(written[name], drawn[name]) for name in written)
    assert not any(model.training or next(model.parameters()).requires_grad for model in loaded.values())


def test_a_baseline_draws_the_same_vlm(tiny, tmp_path):
    assert main(["tiny", "--without-vlm", "--output", str(tmp_path / "checkpoint")]) == 0
    written, drawn = (
        Baseline(open_checkpoint(str(it)), torch.device("cpu"), torch.float32) for it in (tiny, tmp_path / "checkpoint")
    )
    for part in ("vlm", "expert", "action_out_proj"):
        one, other = getattr(written, part).state_dict(), getattr(drawn, part).state_dict()
        assert all(torch.equal(one[name], other[name]) for name in one), part


def test_weights_that_are_there_and_to_be_drawn(tiny, tmp_path):
    copy = CheckpointCopy.make(tiny, tmp_path)
    wrong = {
        0: "unknown: vlm.lm_head.weight",
        -1: "0 <= random_vlm_seed < 2**32",
        2**32: "0 <= random_vlm_seed < 2**32",
    }
    for seed, why in {**wrong, None: "random_vlm_seed must be a int"}.items():
        copy.edit_config(lambda config, seed=seed: config.update(random_vlm_seed=seed))
        assert why in copy.refusal()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_draws_the_same_weights_each_time_but_not_a_cpu_s(tiny, tmp_path, monkeypatch):
    assert main(["tiny", "--output", str(tmp_path / "again")]) == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["tiny", "--output", str(tmp_path / "cpu")]) == 0
    gpu, again, cpu = (
        load_file(folder / "model.safetensors") for folder in (tiny, tmp_path / "again", tmp_path / "cpu")
    )
    assert all(torch.equal(gpu[name], again[name]) for name in gpu)
    assert not torch.equal(gpu["vlm.lm_head.weight"], cpu["vlm.lm_head.weight"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tiny", "--layers", "0"], "--layers: got 0, wanted 1 .. 36"),
        (["released", "--layers", "37"], "--layers: got 37, wanted 1 .. 36"),
        (["tiny", "--seed", "-1"], "--seed: got -1, wanted 0 .. 4294967295"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments, says, tmp_path, capsys):
    assert main([*arguments, "--output", str(tmp_path / "it")]) == 1
    assert says in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path, monkeypatch, capsys):
    (tmp_path / "notes.txt").touch()
    assert main(["tiny", "--output", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err

    def full(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("alpamayo_export.shards.save_file", full)
    assert main(["tiny", "--output", str(tmp_path / "it")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
