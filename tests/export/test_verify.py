"""alpamayo-verify: what is right passes, and what the commands say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from alpamayo_export.checkpoint import Checkpoint, open_checkpoint
from alpamayo_export.errors import ExportError
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits
from alpamayo_export.random_checkpoint import write_random_checkpoint
from alpamayo_export.verify import cli
from alpamayo_export.verify.files import describe
from alpamayo_export.verify.report import NOT_RUN, PASS, Row, failed, summary, table
from alpamayo_export.verify.unicycle import verify_unicycle
from alpamayo_export.verify.verify import verified, verify
from verification import DENOISER, REASONER, SEED, UNICYCLE, disturb, edit


@pytest.fixture(scope="module")
def rows(repository, opened) -> list[Row]:
    """Of a repository that is as it was exported."""
    return verify(repository, opened, SEED)


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


def test_other_seeds_are_other_inputs(repository, opened):
    target = describe(repository).target
    again, other = (
        list(verify_unicycle(repository / UNICYCLE, opened, target, np.random.default_rng(seed))) for seed in (1, 2)
    )
    assert [row.error for row in again] != [row.error for row in other]


@pytest.fixture(scope="module")
def smallest(tmp_path_factory) -> Checkpoint:
    """Quickly exported and verified: one layer, and no file holds the vision-language model."""
    folder = tmp_path_factory.mktemp("smallest") / "checkpoint"
    write_random_checkpoint(folder, "tiny", layers=1, seed=3, without_vlm=True)
    return open_checkpoint(str(folder))


LEAST = Options("bf16", "torch", Limits(1, 1, 1), ("vision", "embedding"))


def test_drawn_weights_in_bf16_at_the_least_limits_pass(smallest, tmp_path):
    """There are none to compare, and ONNX Runtime has no bf16 on a CPU: rows of their own."""
    export(smallest, tmp_path / "repository", LEAST)
    assert not list((tmp_path / "repository").rglob("*.safetensors"))
    found = verify(tmp_path / "repository", smallest, SEED)
    assert failed(found) == []
    if not torch.cuda.is_available():
        assert {row.part for row in found if row.verdict == NOT_RUN} == {
            "reasoner: weights that differ",
            "denoiser on tensorrt",
            "denoiser on onnxruntime",
        }


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


def test_a_repository_of_another_checkpoint_is_one_line(copy, repository, capsys):
    copy.edit_weights(lambda tensors: disturb(tensors, "expert.layers.0.mlp.up_proj.weight"))
    assert cli.main([str(repository), "--checkpoint", str(copy.folder)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
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
def test_a_wrong_command_line(arguments):
    script = Path(sys.executable).with_name("alpamayo-verify")
    done = subprocess.run([script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "alpamayo-verify: error: " in done.stderr


def test_an_export_that_fails_is_not_put_in_place(smallest, tmp_path, capsys):
    output = tmp_path / "repository"
    output.mkdir()
    (output / "alpamayo.json").write_text("old")

    def spoil_and_check(written: Path) -> None:
        edit(accel_std=0.7)(written / UNICYCLE / "unicycle.json")
        verified(smallest, SEED)(written)

    with pytest.raises(ExportError, match=r"does not compute what its checkpoint does: alpamayo_unicycle: files"):
        export(smallest, output, LEAST, spoil_and_check)
    assert "unicycle: action" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    assert [path.name for path in output.iterdir()] == ["alpamayo.json"]
    assert (output / "alpamayo.json").read_text() == "old"
