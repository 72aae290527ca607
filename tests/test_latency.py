"""The latency benchmark: what it asks, what it makes of the times, and a run of it on a server."""

import io
import json
import sys
from functools import partial

import latency
import numpy as np
import pytest
import torch
from alpamayo_client import ServerError
from alpamayo_demo.served import served
from latency_cases import Case, all_cases, thoughts, why_not
from PIL import Image
from scenes import as_jpeg, golden_scene, made_up_scene

LIMITS = {"max_trajectories": 32, "max_generation_length": 256}
MODELS = ["alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle"]


def test_every_case_differs_from_a_base_in_one_thing():
    cases = all_cases(40)
    assert cases["k1"] == Case(1, 1, 40, 10, "raw")
    assert cases["k6"] == Case(6, 1, 40, 10, "raw")
    bases = [vars(cases[name]) for name in ("k1", "k6")]
    for name, case in cases.items():
        differences = min(sum(base[key] != value for key, value in vars(case).items()) for base in bases)
        assert differences == (name not in ("k1", "k6")), name
    assert cases["k1x32"].sets == 32
    assert cases["k1x32"].samples == 1
    assert len(set(cases.values())) == len(cases) == 13


def test_what_a_repository_does_not_take_is_not_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cases = all_cases(40)
    assert why_not(cases["k32"], LIMITS) is None
    assert "32 trajectories; the repository was exported for 6" in why_not(
        cases["k1x32"], LIMITS | {"max_trajectories": 6}
    )
    assert "40 tokens" in why_not(cases["k1"], LIMITS | {"max_generation_length": 24})
    assert why_not(cases["k1_cuda_shm"], LIMITS) == "there is no GPU"


def test_the_made_up_scene_is_the_same_each_time_and_survives_jpeg():
    scene, again = made_up_scene(96, 160), made_up_scene(96, 160)
    assert scene.frames.shape == (4, 4, 3, 96, 160)
    np.testing.assert_array_equal(scene.frames, again.frames)
    assert scene.frames.std() > 20
    assert (scene.frames[0, 0] != scene.frames[0, 1]).any()
    np.testing.assert_allclose(np.diff(scene.ego_history_xyz[:, 0]), 1.0, atol=1e-5)
    assert not scene.ego_history_xyz[-1].any()
    files = as_jpeg(scene.frames)
    assert (len(files), len(files[0])) == (4, 4)
    decoded = np.array(Image.open(io.BytesIO(files[3][2]))).transpose(2, 0, 1).astype(int)
    assert np.abs(decoded - scene.frames[3, 2]).mean() < 10


@pytest.mark.parametrize(("case", "tokens", "complete"), [("k6", 9, True), ("k1_tokens20", 9, True)])
def test_golden_thoughts_have_nine_tokens(golden_client, case, tokens, complete):
    case = all_cases(24)[case]
    got = thoughts(golden_client.url, golden_scene(), case)
    assert got == {"tokens": [tokens] * case.samples, "complete": [complete] * case.samples}


def test_a_thought_that_is_cut_off_has_its_last_token(golden_client):
    got = thoughts(golden_client.url, golden_scene(), Case(2, tokens=5))
    assert got == {"tokens": [5, 5], "complete": [False, False]}


@pytest.fixture(scope="module")
def golden_client(repository):
    with served(repository) as client:
        yield client


def test_the_golden_checkpoint(tmp_path, capsys, monkeypatch):
    """The README's table, beside the baseline."""
    from readme import TABLES

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    output = tmp_path / "latency.json"
    assert latency.main(["--rounds", "1", "--cases", "k1", "k6", "--output", str(output)]) == 0
    printed, result = capsys.readouterr().out, json.loads(output.read_text())
    assert printed.strip() == TABLES[result["benchmark"]](result)
    labels = [line.split(" | ")[0] for line in printed.splitlines()]
    assert labels[2:7] == ["| whole request, over gRPC", "| - reasoner", "| - denoiser", "| - unicycle", "| plain transformers, in process"]  # fmt: skip  # noqa: E501
    assert result["gpu"] is None
    assert result["machine"]["driver"] is None
    assert result["settings"]["checkpoint"] == "tests/golden/checkpoint"
    assert result["settings"]["frames"] == [4, 4, 3, 120, 208]
    assert {name: case["tokens"] for name, case in result["settings"]["cases"].items()} == {"k1": 24, "k6": 24}
    assert list(result["seconds"]) == list(result["thoughts"]) == ["k1", "k6", "baseline_k1", "baseline_k6"]
    for name in result["thoughts"]:
        assert set(result["thoughts"][name]["tokens"]) == {9}, name
    for name in ("k1", "k6"):
        seconds = result["seconds"][name]
        assert list(seconds) == ["total", *MODELS]
        assert all(0 < it["p50"] for it in seconds.values())
        assert result["speedup_over_baseline"][name] == pytest.approx(
            result["seconds"][f"baseline_{name}"]["total"]["p50"] / seconds["total"]["p50"]
        )
    assert result["not_run"] == result["failed"] == {}


def test_another_checkpoint(tiny, tiny_repository, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(latency, "made_up_scene", partial(made_up_scene, 120, 208))
    output = tmp_path / "latency.json"
    names = ["k1", "k6_tokens20", "k1_jpeg", "k1_cuda_shm"]
    command = [str(tiny_repository), "--checkpoint", str(tiny), "--rounds", "3", "--seconds", "0", "--cases", *names]
    assert latency.main([*command, "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert result["settings"]["rounds"] == 1  # there was time for no second one
    assert set(result["seconds"]) == {"k1", "k6_tokens20", "k1_jpeg", "baseline_k1"}
    assert result["thoughts"]["k1"]["tokens"] == result["thoughts"]["baseline_k1"]["tokens"] == [40]
    assert result["thoughts"]["k6_tokens20"]["tokens"] == [20] * 6
    assert result["not_run"] == {"k1_cuda_shm": "there is no GPU"}
    assert set(result["outside_models_s"]) == {"k1", "k6_tokens20", "k1_jpeg"}
    printed = capsys.readouterr().out
    assert "| 6 x 1 | 20 of 20 | 10 | raw |" in printed
    assert "| 1 x 1 | 40 of 40 | 10 | jpeg |" in printed
    assert "k1_cuda_shm: not measured: there is no GPU." in printed


def test_a_case_that_fails_is_told_and_the_others_are_measured(repository, tmp_path, capsys, monkeypatch):
    def failing(url, scene, case):
        if case.samples == 6:
            raise ServerError("out of memory")
        return thoughts(url, scene, case)

    monkeypatch.setattr(latency, "made_up_scene", partial(made_up_scene, 64, 96))
    monkeypatch.setattr(latency, "thoughts", failing)
    output = tmp_path / "latency.json"
    assert latency.main([str(repository), "--rounds", "1", "--cases", "k1", "k6", "--output", str(output)]) == 1
    assert "latency.py: k6 failed: out of memory" in capsys.readouterr().err
    result = json.loads(output.read_text())
    assert result["failed"] == {"k6": "out of memory"}
    assert list(result["seconds"]) == ["k1"]
    assert list(result["not_run"]) == ["baseline_k1"]
    assert "--checkpoint DIR" in result["not_run"]["baseline_k1"]


def test_what_is_made_of_the_times():
    def request(total):
        return {"total": total, **dict.fromkeys(MODELS, 1.0)}

    timings = {
        "k1": [request(5.0), request(4.0), request(9.0)],
        "k16": [request(3.5)],
        "baseline_k1": [{"total": 10.0}, {"total": 20.0}, {"total": 15.0}],
    }
    seconds = latency.parts_of(timings["k1"])["total"]
    assert (seconds["min"], seconds["p50"], seconds["max"]) == (4.0, 5.0, 9.0)
    assert list(seconds) == ["min", "p50", "p90", "p95", "p99", "max"]
    made = latency.comparisons(timings)
    assert made["speedup_over_baseline"] == {"k1": 3.0}
    assert made["p99_over_p50"] == {"k1": pytest.approx(8.92 / 5)}
    assert made["outside_models_s"] == {"k1": 2.0, "k16": 0.5}


def test_cuda_memory_that_does_not_work_is_told(golden_client, monkeypatch):
    """There is no GPU, or no package for it: either way it is said why."""
    monkeypatch.setattr(latency, "made_up_scene", partial(made_up_scene, 64, 96))
    found = latency.Found({"k1_cuda_shm": all_cases(24)["k1_cuda_shm"]})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "tritonclient.utils.cuda_shared_memory", None)
    with latency.ExitStack() as stack:
        latency.ready_served(found, stack, golden_client, golden_scene(), LIMITS)
    assert found.calls == {}
    assert "cuda_shared_memory" in found.not_run["k1_cuda_shm"]


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["no/such/checkpoint"]])
def test_senseless_wishes(arguments, capsys):
    assert latency.main(arguments) == 1
    assert "latency.py: " in capsys.readouterr().err
