"""alpamayo-export, as users call it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from alpamayo_export import cli
from reasoner.reasoner import Reasoner


def run(capsys, *arguments) -> tuple[int, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


def test_a_bad_checkpoint_is_one_line_and_exit_code_1(tmp_path):
    script = Path(sys.executable).with_name("alpamayo-export")
    command = [script, tmp_path / "nowhere", "--output", tmp_path / "repository"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"alpamayo-export: no folder {tmp_path}/nowhere (the checkpoint)\n"
    assert not (tmp_path / "repository").exists()


def test_a_limit_below_one_is_refused(checkpoint, tmp_path, capsys):
    code, message = run(capsys, checkpoint, "--output", tmp_path / "repository", "--max-images", 0)
    assert code == 1
    assert "max_images must be at least 1, got 0" in message


def test_output_that_is_something_else_is_refused(copy, capsys):
    code, message = run(capsys, copy.folder, "--output", copy.folder)
    assert code == 1
    assert "not an exported repository" in message
    assert (copy.folder / "config.json").is_file()


@pytest.mark.parametrize("arguments", [[], ["checkpoint"], ["a", "--output", "b", "--precision", "int8"]])
def test_a_wrong_command_line(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert "alpamayo-export" in capsys.readouterr().err


def test_what_the_command_is_told_to_offload_is_offloaded_and_not_to_verify_is_not(checkpoint, tmp_path, capsys):
    output = tmp_path / "repository"
    options = ["--offload", "vision", "embedding", "--no-verify"]
    assert cli.main([str(checkpoint), "--output", str(output), *options]) == 0
    assert "tolerance" not in capsys.readouterr().err
    folder = output / "alpamayo_reasoner" / "1"
    assert json.loads((folder / "reasoner.json").read_text())["offload"] == ["vision", "embedding"]
    blocks = Reasoner(folder, torch.device("cpu")).model.model.visual.blocks
    assert [type(block).__name__ for block in blocks] == ["Streamed"] * len(blocks) != []
