"""The hand-over benchmark hands over, through a real server, and would notice a tensor that is not the one sent."""

import json
import shutil

import handover
import ml_dtypes
import numpy as np
import pytest
import torch
from alpamayo_demo.errors import DemoError
from alpamayo_export.limits import KvCache
from alpamayo_serve.serving import serving
from handover import Arrival, check_arrivals, main, table, write_repository
from kv_checksum import kv_checksum
from readme import rendered
from tritonclient.grpc import InferenceServerClient, InferInput

TOKENS = 16  # 2.4 MB
HERE = torch.cuda.is_available()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    output = tmp_path_factory.mktemp("handover") / "result.json"
    assert main(["--tokens", str(TOKENS), "--rounds", "2", "--output", str(output)]) == 0
    return json.loads(output.read_text())


def test_through_host_memory(result):
    assert result["where"]["host"] == "cpu"
    assert result["damaged"]["host"] == 0
    assert set(result["seconds"]["host"]) == {"min", "p50", "p90", "p95", "p99", "max"}
    assert result["seconds"]["host"]["min"] > 0
    assert result["settings"]["bytes"] == 36 * 2 * 8 * TOKENS * 128 * 2


@pytest.mark.skipif(HERE, reason="there is a GPU")
def test_without_a_gpu_it_says_what_was_not_run(result):
    assert result["not_run"] == {kind: "there is no GPU here" for kind in ("gpu", "starved")}
    assert result["host_over_gpu_p50"] is None
    assert "stays on the GPU: not run: there is no GPU here." in table(result)


@pytest.mark.skipif(not HERE, reason="needs a GPU: the tensor stays on it")
def test_on_a_gpu_the_tensor_stays_there(result):
    assert result["where"]["gpu"] == "cuda"
    assert result["damaged"]["gpu"] == 0
    assert "gpu" not in result["not_run"]
    assert result["host_over_gpu_p50"] > 1


def test_the_readme_can_show_it(result, tmp_path, monkeypatch):
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "some.json").write_text(json.dumps(result))
    monkeypatch.setattr("readme.ROOT", tmp_path)
    assert table(result) in rendered("<!-- some.json -->\n<!-- end -->")
    assert "| through host memory | " in table(result)


def test_the_consumer_tells_another_tensor_from_the_one_that_was_sent(tmp_path):
    write_repository(tmp_path / "repository", "host", KvCache(2, 1, 4, 3, "bf16"), gpu=False)
    kv_cache = torch.randn(2, 2, 1, 3, 4).to(torch.bfloat16)
    on_the_wire = kv_cache.float().numpy().astype(ml_dtypes.bfloat16)
    checksum = kv_checksum(kv_cache).numpy()
    with (
        serving(tmp_path / "repository", tmp_path / "log") as endpoints,
        InferenceServerClient(f"{endpoints.address}:{endpoints.grpc_port}") as client,
    ):

        def intact(checksum):
            sent = [
                InferInput("kv_cache", list(kv_cache.shape), "BF16").set_data_from_numpy(on_the_wire),
                InferInput("kv_checksum", [2, 2], "INT64").set_data_from_numpy(checksum),
                InferInput("handed_ns", [1], "INT64").set_data_from_numpy(np.array([0])),
            ]
            return client.infer("consumer", sent).as_numpy("intact").tolist()

        assert intact(checksum) == [True]
        assert intact(checksum + np.array([[0, 0], [0, 1]])) == [False]


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_times_of_a_damaged_tensor_are_refused(where):
    arrivals = [Arrival(1.0, where, True), Arrival(1.0, where, False)]
    with pytest.raises(DemoError, match="1 of 2 tensors came damaged"):
        check_arrivals("gpu", arrivals)


def test_times_of_a_tensor_that_left_the_gpu_are_refused():
    check_arrivals("gpu", [Arrival(1.0, "cuda", True)])
    check_arrivals("host", [Arrival(1.0, "cpu", True)])
    with pytest.raises(DemoError, match="came to cpu, cuda, wanted all on cuda"):
        check_arrivals("gpu", [Arrival(1.0, "cpu", True), Arrival(1.0, "cuda", True)])


def test_a_server_that_does_not_start_is_said(monkeypatch, capsys, tmp_path):
    shutil.copytree(handover.MODELS, tmp_path / "models")
    (tmp_path / "models" / "producer" / "1" / "model.py").write_text("raise RuntimeError('no such model')")
    monkeypatch.setattr(handover, "MODELS", tmp_path / "models")
    assert main(["--tokens", "1", "--rounds", "1"]) == 1
    said = capsys.readouterr().err
    assert "handover.py: nothing could be timed: " in said
    assert "through host memory: the server did not start" in said


@pytest.mark.parametrize("argument", ["--tokens", "--rounds"])
def test_sizes_that_make_no_sense_are_refused(capsys, argument):
    assert main([argument, "0"]) == 1
    assert f"handover.py: {argument}: got 0, wanted at least 1" in capsys.readouterr().err
