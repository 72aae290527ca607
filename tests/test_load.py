"""The load benchmark: perf_analyzer is the real one, asked what the client would ask, and understood."""

import base64
import json

import load
import numpy as np
import perf_analyzer
import pytest
from alpamayo_demo.errors import DemoError

PRINTED = """ Successfully read data for 1 stream/streams with 1 step/steps.
*** Measurement Settings ***
  Batch size: 1

Request concurrency: 2
  Client:
    Request count: 10
    Throughput: 1.98472 infer/sec
    Avg latency: 882365 usec (standard deviation 138095 usec)
    p50 latency: 891434 usec
    p90 latency: 1006403 usec
    p95 latency: 1122229 usec
    p99 latency: 1122230 usec
    Avg gRPC time: 882323 usec ((un)marshal request/response 90 usec + response wait 882233 usec)
  Server:
    Inference count: 10
    Execution count: 10
    Successful request count: 10
    Avg request latency: 881154 usec (overhead 52 usec + queue 335985 usec + compute 545117 usec)

  Composing models:
  alpamayo_denoiser, version: 1
      Inference count: 10
      Execution count: 10
      Successful request count: 10
      Avg request latency: 90657 usec (overhead 5 usec + queue 79 usec + compute input 200 usec + compute infer 89707 usec + compute output 665 usec)

  alpamayo_reasoner, version: 1
      Inference count: 11
      Execution count: 11
      Successful request count: 11
      Avg request latency: 788437 usec (overhead 3 usec + queue 335862 usec + compute input 163 usec + compute infer 451862 usec + compute output 546 usec)

  alpamayo_unicycle, version: 1
      Inference count: 10
      Execution count: 10
      Successful request count: 10
      Avg request latency: 2019 usec (overhead 3 usec + queue 44 usec + compute input 49 usec + compute infer 1470 usec + compute output 452 usec)

Inferences/Second vs. Client Average Batch Latency
Concurrency: 2, throughput: 1.98472 infer/sec, latency 882365 usec
"""  # noqa: E501  # as it came
REFUSED = """Failed to maintain requested inference load. Worker thread(s) failed to generate concurrent requests.
Thread [0] had error: in ensemble 'alpamayo', the request's deadline_ms is spent

Thread [1] had error: in ensemble 'alpamayo', the request's deadline_ms is spent

"""
UNSTABLE = "Failed to obtain stable measurement within 3 measurement windows for concurrency 1.\n"
SHORT = ("--requests", "2", "--stability", "1000")


@pytest.fixture(scope="module")
def _perf_analyzer():
    perf_analyzer.fetch()


@pytest.mark.usefixtures("_perf_analyzer")
def test_load_on_a_server(repository, tmp_path, capsys):
    from readme import TABLES

    output = tmp_path / "load.json"
    status = load.main([str(repository), "--concurrency", "1", "2", *SHORT, "--samples", "2", "--output", str(output)])
    printed = capsys.readouterr().out
    assert status == 0
    result = json.loads(output.read_text())
    assert printed.strip() == TABLES[result["benchmark"]](result)
    assert result["gpu"] == result["machine"]["gpu"]
    assert result["settings"]["K"] == 2
    assert str(tmp_path) not in result["settings"]["perf_analyzer"]["command"]
    assert list(result["concurrency"]) == ["1", "2"]
    for measured in result["concurrency"].values():
        assert measured["requests"] >= 3 * 2
        assert measured["failed_requests"] == 0
        assert measured["error"] is None
        assert measured["throughput_per_s"] > 0
        latency = [measured["latency_s"][p] for p in load.PERCENTILES]
        assert latency == sorted(latency)
        assert 0 < latency[0]
        assert list(measured["models_mean_s"]) == ["alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle"]
        for parts in measured["models_mean_s"].values():
            assert set(parts) == {"queue", "compute_input", "compute_infer", "compute_output"}
            assert 0 < parts["compute_infer"]


@pytest.mark.usefixtures("_perf_analyzer")
def test_a_server_that_answers_errors_is_no_result(repository, tmp_path, capsys):
    """That this is refused says, too, that the parameters arrive."""
    output = tmp_path / "load.json"
    status = load.main([str(repository), "--concurrency", "2", *SHORT, "--samples", "33", "--output", str(output)])
    printed = capsys.readouterr()
    assert status == 1
    measured = json.loads(output.read_text())["concurrency"]["2"]
    assert 1 <= measured["failed_requests"] <= 2
    assert "at most 32 trajectories" in measured["error"]
    assert "throughput_per_s" not in measured
    assert measured["error"] in printed.out
    assert measured["error"] in printed.err


def test_the_input_file_is_the_scene(golden_case):
    golden = golden_case("greedy")
    request = load.scene_request(6)
    (tensors,) = json.loads(json.dumps(load.input_data(request.inputs)))["data"]
    assert set(tensors) == {"image_frames", "ego_history_xyz", "ego_history_rot"}
    for name, dtype, shape in (
        ("image_frames", np.uint8, [4, 4, 3, 120, 208]),
        ("ego_history_xyz", np.float32, [16, 3]),
        ("ego_history_rot", np.float32, [16, 3, 3]),
    ):
        assert tensors[name]["shape"] == shape
        array = np.frombuffer(base64.b64decode(tensors[name]["content"]["b64"]), dtype).reshape(shape)
        expected = golden["frames" if name == "image_frames" else name].numpy().reshape(shape)
        np.testing.assert_array_equal(array, expected)
    flags = load.arguments("localhost:1", request.parameters, load.Stopping(), "4")
    assert "num_traj_samples:6:int" in flags
    assert flags[flags.index("--concurrency-range") + 1] == "4"


def test_what_is_printed_is_read():
    measured = load.parse(PRINTED)
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert measured == {
        "requests": 10,
        "failed_requests": 0,
        "error": None,
        "throughput_per_s": 1.98472,
        "latency_s": {
            "p50": 0.891434, "p90": 1.006403, "p95": 1.122229, "p99": 1.12223, "mean": 0.882365, "std": 0.138095,
        },
        "models_mean_s": {
            "alpamayo_reasoner": dict(zip(parts, (0.335862, 0.000163, 0.451862, 0.000546), strict=True)),
            "alpamayo_denoiser": dict(zip(parts, (0.000079, 0.0002, 0.089707, 0.000665), strict=True)),
            "alpamayo_unicycle": dict(zip(parts, (0.000044, 0.000049, 0.00147, 0.000452), strict=True)),
        },
    }  # fmt: skip


@pytest.mark.parametrize("lost", ["p90 latency", "Request count", "alpamayo_unicycle", "compute input"])
def test_what_is_not_understood_is_no_result(lost):
    assert lost in PRINTED
    with pytest.raises(DemoError, match="perf_analyzer printed"):
        load.parse(PRINTED.replace(lost, "?"))


def test_failures_are_counted_and_shown():
    result = {
        "command": "python benchmarks/load.py",
        "machine": {"gpu": "a GPU", "commit": "c0ffee"},
        "settings": {
            "K": 6,
            "checkpoint": "it",
            "perf_analyzer": {"version": "2.51.0"},
            "stopping": {"requests": 50},
        },
        "concurrency": {"1": load.failure(UNSTABLE), "2": load.failure(REFUSED), "4": load.parse(PRINTED)},
    }
    assert result["concurrency"]["1"]["failed_requests"] == 0
    assert result["concurrency"]["2"]["failed_requests"] == 2
    unstable, refused = load.failures_of(result)
    assert "1 has no numbers; failed requests: 0; no three windows agreed" in unstable
    assert refused.endswith("failed requests: 2; in ensemble 'alpamayo', the request's deadline_ms is spent")
    lines = load.table(result).splitlines()
    assert lines[2].startswith("| 1 | - | 0 | - |")
    assert lines[3].startswith("| 2 | - | 2 | - |")
    assert lines[4].startswith("| 4 | 1.98 | 0 | 882 | 891 | 1006 | 1122 | 1122 | 336 + 453 | 0 + 91 | 0 + 2 |")
    assert {line.count("|") for line in lines[:5]} == {12}


def test_without_perf_analyzer(tmp_path, capsys, monkeypatch):
    """Said before anything is exported and served."""
    monkeypatch.setattr(perf_analyzer, "PARTS", [_part("not_there", b"", "0" * 64)])
    assert load.main([str(tmp_path / "no_checkpoint")]) == 1
    assert "make perf-analyzer" in capsys.readouterr().err


def test_a_package_with_another_file_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(perf_analyzer, "PARTS", [_part("perf_analyzer", b"something else", "0" * 64)])
    with pytest.raises(DemoError, match=r"a-package==1: the/member has sha256 [0-9a-f]{64}, wanted 0{64}"):
        perf_analyzer.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_perf_analyzer")
def test_what_is_there_is_not_fetched_again(monkeypatch):
    monkeypatch.setattr(perf_analyzer, "_call", None)
    perf_analyzer.fetch()


@pytest.mark.parametrize("arguments", [["--concurrency", "0"], ["--requests", "0"], ["--max-trials", "2"]])
def test_senseless_settings(arguments, capsys):
    assert load.main(arguments) == 1
    assert f"{arguments[0]}: got {arguments[1]}, wanted at least" in capsys.readouterr().err


def _part(name, content, sha256):
    def unpack(package, member, folder):
        file = folder / "file"
        file.write_bytes(content)
        return file

    return perf_analyzer.Part(name, "a-package==1", "the/member", sha256, unpack)
