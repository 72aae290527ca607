"""An export needs little memory of its own: the reasoner's weights pass through it, the denoiser's are held once."""

import dataclasses
import json
import re

import pytest
import torch
from alpamayo_export.checkpoint import weight_shapes
from alpamayo_export.layout import SMALL_TOKENS, make_tokenizer, write_layout
from alpamayo_export.random_checkpoint import _tiny
from alpamayo_export.shards import save_tensors
from export_memory import START, main, table
from readme import rendered


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Of a checkpoint in float32 whose weights take more memory than the exporter's own code."""
    folder = tmp_path_factory.mktemp("memory")
    sizes = _tiny(2)
    text = sizes.text | {"hidden_size": 1024, "intermediate_size": 16 * 1024}
    expert = sizes.expert | {"hidden_size": 1024, "intermediate_size": 24 * 1024}
    checkpoint = folder / "checkpoint"
    write_layout(checkpoint, dataclasses.replace(sizes, text=text, expert=expert), make_tokenizer([], SMALL_TOKENS))
    tensors = {name: torch.zeros(shape) for name, shape in weight_shapes(checkpoint)[1].items()}
    save_tensors(tensors, checkpoint / "model.safetensors")
    output = folder / "result.json"
    assert main([str(checkpoint), "--precision", "bf16", "--work", str(folder), "--output", str(output)]) == 0
    return json.loads(output.read_text())


def peak(result, *words):
    """Of the steps whose name has one of the words, over what the exporter needed before them, in bytes."""
    peaks = result["peaks"]["bf16"]
    found = [used for step, used in peaks.items() if any(word in step for word in words)]
    assert found, peaks
    return max(found) - peaks[START]


def test_of_what(result):
    checkpoint = result["checkpoint"]
    assert checkpoint["files"] == 1
    assert checkpoint["denoiser_bytes"] > 600e6
    assert checkpoint["bytes"] - checkpoint["denoiser_bytes"] > 400e6


def test_the_reasoners_weights_pass_through(result):
    assert peak(result, "splitting") < 150e6


def test_the_denoisers_weights_are_held_once(result):
    """In bf16, half of what they are in the checkpoint; 150 MB are torch.export's and onnx's own."""
    most = peak(result, "denoiser's weights", "tracing", "writing", "translating")
    assert 0.4 * result["checkpoint"]["denoiser_bytes"] < most < 0.65 * result["checkpoint"]["denoiser_bytes"] + 150e6


def test_hashing_reads_piece_by_piece(result):
    assert peak(result, "hashing") < peak(result, "translating") + 100e6


def test_the_readme_can_show_it(result, tmp_path, monkeypatch):
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "some.json").write_text(json.dumps(result))
    monkeypatch.setattr("readme.ROOT", tmp_path)
    assert table(result) in rendered("<!-- some.json -->\n<!-- end -->")
    assert re.search(r"\| splitting off the reasoner's weights \| \d+ \|", table(result))


def test_an_export_that_fails_says_why(tmp_path, checkpoint, capsys):
    broken = tmp_path / "checkpoint"
    broken.mkdir()
    (broken / "model.safetensors").symlink_to(checkpoint / "model.safetensors")
    assert main([str(broken), "--work", str(tmp_path)]) == 1
    assert "config.json does not exist" in capsys.readouterr().err
