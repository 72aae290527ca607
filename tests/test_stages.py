"""The stages' benchmark, run for short; and its arithmetic."""

import json
import math

import pytest
import stages
from roofline import Roofline, Work
from safetensors import safe_open

TASK = ["--tokens", "3", "--steps", "2", "--images", "2", "--size", "320x180", "--rounds", "1"]


@pytest.fixture(scope="module")
def result(repository, tmp_path_factory):
    output = tmp_path_factory.mktemp("stages") / "result.json"
    assert stages.main([str(repository), "--samples", "1", "3", *TASK, "--output", str(output)]) == 0
    return json.loads(output.read_text())


def test_every_stage_of_a_request_is_timed(result):
    names = ["decode images", "preprocess", "vision", "prefill", "per token", "checksum", "check request"]
    names += ["per Euler step", "unicycle"]
    for k in ("k1", "k3"):
        assert list(result["stages"][k]) == names
        # The images' share is taken off the prefill's; on a machine with other work nothing may be left.
        assert all(stage["p50"] > 0 for name, stage in result["stages"][k].items() if name != "prefill")
    bounded = {name for name, stage in result["stages"]["k1"].items() if "bound_s" in stage}
    assert bounded == {"vision", "prefill", "per token", "per Euler step"}
    assert result["gpu"] == result["machine"]["gpu"]
    assert result["settings"]["denoiser"].startswith("onnxruntime")


def test_work_grows_with_the_thoughts_where_it_should(result):
    one, three = (result["stages"][k] for k in ("k1", "k3"))
    assert three["per token"]["operations"] == 3 * one["per token"]["operations"]
    assert three["per token"]["bytes"] == one["per token"]["bytes"]  # weights are read once, for all thoughts
    assert three["per Euler step"]["operations"] == pytest.approx(3 * one["per Euler step"]["operations"], rel=1e-6)
    assert three["prefill"]["operations"] == one["prefill"]["operations"]


def test_a_bound_is_memory_s_or_arithmetic_s_whichever_takes_longer():
    roofline = Roofline(bytes_per_s=100.0, operations_per_s=1000.0)
    assert roofline.bound(Work(bytes=50, operations=10)) == 0.5
    assert roofline.bound(Work(bytes=50, operations=2000)) == 2.0


def test_the_table_shows_both_numbers_of_thoughts(result):
    text = stages.table(result)
    assert "| p50, ms | K = 1 | times its bound | K = 3 | times its bound |" in text
    assert "2 frames of 320 x 180 as JPEG" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--tokens", "0"], "--tokens"), (["--samples", "0"], "--samples"), (["--rounds", "0"], "--rounds")],
)
def test_numbers_that_make_no_sense_are_refused(arguments, words, capsys):
    assert stages.main([*TASK, *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_size_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        stages.main(["--size", "wide"])
    assert "got wide, wanted WIDTHxHEIGHT" in capsys.readouterr().err


def test_a_token_s_work_is_that_of_the_golden_weights(result, checkpoint):
    """4 layers, 2 KV heads and 4 heads of 16, float32. What is left of the bytes is the prompt's KV."""
    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        sizes = {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # no dict
    weights = sum(n for name, n in sizes.items() if name.startswith("vlm.model.language_model.layers."))
    weights += sizes["vlm.lm_head.weight"]
    token = result["stages"]["k1"]["per token"]
    prompt = (token["bytes"] / 4 - weights) / (2 * 4 * 2 * 16)
    assert prompt == int(prompt) > 2 * 160  # two images
    assert token["operations"] == 2 * weights + 4 * prompt * 4 * 16 * 4
