"""alpamayo-verify: what is right passes; whatever is broken fails, in the row of what was broken."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from alpamayo_export.checkpoint import Checkpoint, open_checkpoint
from alpamayo_export.errors import ExportError
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits
from alpamayo_export.random_checkpoint import write_random_checkpoint
from alpamayo_export.verify import cli
from alpamayo_export.verify.denoiser import verify_denoiser
from alpamayo_export.verify.files import describe, verify_files, verify_record
from alpamayo_export.verify.reasoner import verify_reasoner, verify_weights
from alpamayo_export.verify.report import FAIL, NOT_RUN, PASS, Row, failed, summary, table
from alpamayo_export.verify.unicycle import verify_unicycle
from alpamayo_export.verify.verify import verified, verify
from checkpoint_copy import edited_json
from safetensors.torch import load_file, save_file

SEED = 0
CPU = torch.device("cpu")
REASONER, DENOISER, UNICYCLE = (f"alpamayo_{stage}/1" for stage in ("reasoner", "denoiser", "unicycle"))


@pytest.fixture(scope="module")
def opened(checkpoint) -> Checkpoint:
    return open_checkpoint(str(checkpoint))


@pytest.fixture
def spoilt(repository, tmp_path) -> Path:
    """A copy of the exported repository, to be spoilt."""
    return Path(shutil.copytree(repository, tmp_path / "repository", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture(scope="module")
def rows(repository, opened) -> list[Row]:
    """Of a repository that is as it was exported."""
    return verify(repository, opened, SEED)


def by_part(rows: Iterator[Row]) -> dict[str, Row]:
    return {row.part: row for row in rows}


def of_files(repository: Path, checkpoint: Checkpoint) -> dict[str, Row]:
    return by_part(verify_files(repository, checkpoint, describe(repository)))


def of_reasoner(repository: Path, checkpoint: Checkpoint) -> dict[str, Row]:
    target = describe(repository).target
    return by_part(verify_reasoner(repository / REASONER, checkpoint, target, np.random.default_rng(SEED), CPU))


def of_denoiser(repository: Path, checkpoint: Checkpoint) -> dict[str, Row]:
    target = describe(repository).target
    return by_part(verify_denoiser(repository / DENOISER, checkpoint, target, np.random.default_rng(SEED), CPU))


def of_unicycle(repository: Path, checkpoint: Checkpoint) -> dict[str, Row]:
    target = describe(repository).target
    return by_part(verify_unicycle(repository / UNICYCLE, checkpoint, target, np.random.default_rng(SEED)))


def failures(rows: dict[str, Row]) -> set[str]:
    return {row.part for row in failed(list(rows.values()))}


# What is right


def test_an_export_passes(rows):
    """All of it but TensorRT, which this machine cannot run: that is no pass."""
    assert {row.part: row.verdict for row in rows if row.verdict != PASS} == {"denoiser on tensorrt": NOT_RUN}
    assert summary(rows) == f"{len(rows) - 1} passed, 1 not run here"


def test_every_part_is_compared(rows):
    compared = "\n".join(row.part for row in rows)
    for part in ("alpamayo:", "alpamayo_reasoner:", "tritonserver_flags:", "prompt's KV cache", "decoded thoughts'"):
        assert part in compared
    for runner in ("onnxruntime", "torch"):
        assert f"denoiser on {runner}: velocity\ndenoiser on {runner}: loop" in compared


def test_the_command_prints_what_the_function_finds_and_a_seed_repeats_it(repository, checkpoint, rows, capsys):
    assert cli.main([str(repository), "--checkpoint", str(checkpoint), "--seed", str(SEED)]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{table(rows)}\n{summary(rows)}; repeat it with --seed {SEED}\n"


def test_a_user_may_set_the_queue(spoilt, opened):
    config = spoilt / "alpamayo_reasoner" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_queue_size: 16", "max_queue_size: 40"))
    assert "40" in config.read_text()
    assert failures(of_files(spoilt, opened)) == set()


@pytest.mark.parametrize("file", ["files.json", "numpy.py"])
def test_what_would_not_load_does_not_pass(spoilt, file):
    path = spoilt / REASONER / file
    path.unlink() if path.exists() else path.touch()
    assert failures(by_part(verify_record(spoilt))) == {"alpamayo_reasoner: files as recorded"}


def test_other_seeds_are_other_inputs(repository, opened):
    target = describe(repository).target
    again, other = (
        list(verify_unicycle(repository / UNICYCLE, opened, target, np.random.default_rng(seed))) for seed in (1, 2)
    )
    assert [row.error for row in again] != [row.error for row in other]


def test_drawn_weights_in_bf16_at_the_least_limits_pass(tmp_path):
    """No file holds the vision-language model, and ONNX Runtime has no bf16 on a CPU: rows of their own."""
    write_random_checkpoint(tmp_path / "checkpoint", "tiny", layers=1, seed=3, without_vlm=True)
    checkpoint = open_checkpoint(str(tmp_path / "checkpoint"))
    export(checkpoint, tmp_path / "repository", Options("bf16", "torch", Limits(1, 1, 1), ("vision", "embedding")))
    found = verify(tmp_path / "repository", checkpoint, SEED)
    assert failed(found) == []
    if not torch.cuda.is_available():
        assert {row.part for row in found if row.verdict == NOT_RUN} == {
            "reasoner: weights that differ",
            "denoiser on tensorrt",
            "denoiser on onnxruntime",
        }


# What is broken: files


def edit(**values: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with edited_json(path) as content:
            assert values.keys() <= content.keys()
            content.update(values)

    return apply


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return apply


@pytest.mark.parametrize(
    ("file", "spoil"),
    [
        ("alpamayo/config.pbtxt", replaced('value: "pred_xyz"', 'value: "pred_rot"')),
        ("alpamayo_reasoner/config.pbtxt", replaced("dims: 4", "dims: 5")),
        ("alpamayo_denoiser/config.pbtxt", replaced("TYPE_FP32", "TYPE_BF16")),
        ("alpamayo_denoiser/config.pbtxt", replaced("KIND_CPU", "KIND_GPU")),
        ("alpamayo_unicycle/config.pbtxt", replaced("64, 2", "32, 2")),
        ("alpamayo_unicycle/config.pbtxt", Path.unlink),
        ("alpamayo_reasoner/1/model.py", replaced("secrets.randbelow", "int")),
        ("alpamayo_denoiser/1/denoiser/euler.py", replaced("step / steps", "1 - step / steps")),
        ("alpamayo_unicycle/1/ego_history.py", Path.unlink),
        ("alpamayo_reasoner/1/config.json", replaced('"num_hidden_layers": 4', '"num_hidden_layers": 3')),
        ("alpamayo_reasoner/1/config.json", replaced("{", "")),
        ("alpamayo_reasoner/1/tokenizer.json", replaced("<|cot_end|>", "<|cot_and|>")),
        ("alpamayo_reasoner/1/reasoner.json", edit(max_images=17)),
        ("alpamayo_reasoner/1/reasoner.json", edit(offload=["lm_head"])),
        ("alpamayo_reasoner/1/reasoner.json", edit(random_seed=0)),
        ("alpamayo_denoiser/1/denoiser.json", edit(max_kv_tokens=1 << 20)),
        ("alpamayo_denoiser/1/denoiser.json", edit(max_trajectories=33)),
        ("alpamayo_denoiser/1/denoiser.json", edit(runner="torch")),
        ("alpamayo_unicycle/1/unicycle.json", edit(v_ridge=1.001e-4)),
        ("tritonserver_flags", replaced("stub-timeout-seconds=60", "stub-timeout-seconds=6")),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_a_file_that_is_not_as_exported_is_named(spoilt, opened, file, spoil):
    spoil(spoilt / file)
    found = of_files(spoilt, opened)
    part = f"{file.split('/')[0]}: files that differ"
    assert failures(found) == {part}
    assert found[part].error == 1
    assert file in found[part].note


@pytest.mark.parametrize(
    "change",
    [{"denoiser": "torch"}, {"limits": {"max_images": 8, "max_trajectories": 32, "max_generation_length": 256}}],
    ids=str,
)
def test_a_manifest_that_says_otherwise_than_the_models_fails(spoilt, opened, change):
    edit(**change)(spoilt / "alpamayo.json")
    found = failures(of_files(spoilt, opened))
    assert "alpamayo: files that differ" in found  # where the ensemble carries it
    assert "alpamayo_denoiser: files that differ" in found


# What is broken: the reasoner

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


def disturb(tensors: dict[str, torch.Tensor], name: str) -> None:
    """Noise of a thousandth."""
    noise = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(1))
    tensors[name] += 1e-3 * tensors[name].std() * noise


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


# What is broken: the denoiser

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


# What is broken: the unicycle


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


# The commands


def test_a_part_that_does_not_run_fails_and_the_others_are_compared(spoilt, checkpoint, capsys):
    (spoilt / DENOISER / "denoiser.onnx").unlink()
    weights = spoilt / REASONER / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert cli.main([str(spoilt), "--checkpoint", str(checkpoint)]) == 1
    printed = capsys.readouterr().out
    for part in ("reasoner", "denoiser"):
        assert f"\n{part} " in printed
    assert printed.count("FAIL: it does not run: ") == 3  # the reasoner's weights too
    assert "unicycle: pred_xyz" in printed
    assert "repeat it with --seed " in printed


def refusal(*arguments: object) -> str:
    script = Path(sys.executable).with_name("alpamayo-verify")
    done = subprocess.run([script, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_a_repository_of_another_checkpoint_is_one_line(copy, repository):
    copy.edit_weights(lambda tensors: disturb(tensors, "expert.layers.0.mlp.up_proj.weight"))
    line = refusal(repository, "--checkpoint", copy.folder)
    assert line.startswith("alpamayo-verify: the repository is of another checkpoint: its sha256 is ")


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"limits": {"max_images": 0}}', '{"limits": {}}'])
def test_what_is_no_repository_is_one_line(tmp_path, checkpoint, manifest, capsys):
    if manifest is not None:
        (tmp_path / "alpamayo.json").write_text(manifest)
    assert cli.main([str(tmp_path), "--checkpoint", str(checkpoint)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("alpamayo-verify: ")


def test_a_checkpoint_that_is_not_there_is_one_line(repository, tmp_path, capsys):
    assert cli.main([str(repository), "--checkpoint", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"alpamayo-verify: no folder {tmp_path}/nowhere (the checkpoint)\n"


@pytest.mark.parametrize("arguments", [[], ["repository"], ["repository", "--checkpoint", "c", "--seed", "-1"]])
def test_a_wrong_command_line(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert "alpamayo-verify" in capsys.readouterr().err


def test_an_export_that_fails_is_not_put_in_place(opened, tmp_path, capsys):
    output = tmp_path / "repository"
    output.mkdir()
    (output / "alpamayo.json").write_text("old")

    def spoil_and_check(written: Path) -> None:
        edit(accel_std=0.7)(written / UNICYCLE / "unicycle.json")
        verified(opened, SEED)(written)

    with pytest.raises(ExportError, match=r"does not compute what its checkpoint does: alpamayo_unicycle: files"):
        export(opened, output, Options("fp32", "onnxruntime", Limits()), spoil_and_check)
    assert "unicycle: action" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    assert [path.name for path in output.iterdir()] == ["alpamayo.json"]
    assert (output / "alpamayo.json").read_text() == "old"
