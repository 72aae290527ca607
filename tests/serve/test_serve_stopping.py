"""However the server ends, the exit code tells, and nothing of it is left."""

import json
import os
import signal
from contextlib import closing
from http.client import HTTPConnection

import pytest
from launched import BLOCKS_LOADING, BLOCKS_REQUESTS, NOTHING, infer, until

# Python runs it when it starts; the launcher's own is in another folder.
DIES_AS_A_STUB = """
import os, sys

if "alpamayo-serve-" in sys.prefix:
    os._exit(1)
"""


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal(launch, stop_signal):
    launched = launch()
    launched.ports()
    assert set(launched.processes().values()) == {"tritonserver", "triton_python_backend_stub"}
    assert launched.shared_memory()
    assert os.listdir(launched.folder / "tmp")
    assert launched.stop(stop_signal) == 0, launched.log
    assert launched.left_behind() == NOTHING


def test_requests_in_flight_are_answered(launch):
    launched = launch(model=BLOCKS_REQUESTS)
    answers = []
    thread = infer(launched, answers)
    launched.logged("executing")
    launched.process.send_signal(signal.SIGTERM)
    launched.logged("Waiting for in-flight requests to complete")
    assert not answers
    (launched.folder / "repository/echo/1/release").touch()
    thread.join()
    assert answers == [[7.0]]
    assert launched.wait() == 0, launched.log
    assert launched.left_behind() == NOTHING


def test_idle_connections_keep_no_server(launch):
    """As the pools of HTTP clients have them; Triton would wait for them until its time is up, and exit with code 1."""
    launched = launch()
    with closing(HTTPConnection("127.0.0.1", launched.ports()["http"])) as connection:
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().read() == b""
        assert launched.stop() == 0, launched.log
    assert "1 idle HTTP connections are open" in launched.log
    assert "Exit timeout expired" not in launched.log
    assert launched.left_behind() == NOTHING


def test_an_answer_is_sent_to_a_slow_reader_to_its_end(launch):
    launched = launch()
    sent = bytes(32 << 20)  # more than the kernel's buffers take
    header = {"inputs": [{"name": "x", "shape": [len(sent) // 4], "datatype": "FP32"}]}
    header["inputs"][0]["parameters"] = {"binary_data_size": len(sent)}
    header["parameters"] = {"binary_data_output": True}
    text = json.dumps(header).encode()
    with closing(HTTPConnection("127.0.0.1", launched.ports()["http"])) as connection:
        headers = {"Inference-Header-Content-Length": str(len(text))}
        connection.request("POST", "/v2/models/echo/infer", text + sent, headers)
        answer = connection.getresponse()
        launched.process.send_signal(signal.SIGTERM)
        launched.logged("Timeout 16: Found 1 HTTP service connections")  # Triton counts seconds down from 20
        assert len(answer.read()) > len(sent)
        assert launched.wait() == 0, launched.log
    assert launched.left_behind() == NOTHING


def test_second_signal_kills(launch):
    launched = launch(model=BLOCKS_REQUESTS)
    thread = infer(launched, [])
    launched.logged("executing")
    launched.process.send_signal(signal.SIGTERM)
    launched.logged("Waiting for in-flight requests to complete")
    assert launched.stop() == 128 + signal.SIGKILL
    assert launched.left_behind() == NOTHING
    thread.join()


def test_stub_that_hangs(launch):
    launched = launch("--exit-timeout-s=1", model=BLOCKS_REQUESTS)
    thread = infer(launched, [])
    launched.logged("executing")
    assert launched.stop() == 128 + signal.SIGKILL
    assert "tritonserver did not exit within 6 s, killing it" in launched.log
    assert launched.left_behind() == NOTHING
    thread.join()


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_stop_while_loading(launch, stop_signal):
    launched = launch(model=BLOCKS_LOADING)
    launched.logged("initialize() began")
    assert launched.stop(stop_signal) == 128 + signal.SIGTERM
    assert launched.stdout == ""
    assert launched.left_behind() == NOTHING


def test_server_is_killed_while_loading(launch):
    launched = launch(model=BLOCKS_LOADING)
    launched.logged("initialize() began")
    os.kill(launched.process_id("tritonserver"), signal.SIGKILL)
    assert launched.wait() == 128 + signal.SIGKILL
    assert "tritonserver was killed by signal 9" in launched.log
    assert launched.left_behind() == NOTHING


def test_stub_is_killed_then_stop(launch):
    launched = launch()
    launched.ports()
    os.kill(launched.process_id("triton_python_backend_stub"), signal.SIGKILL)
    launched.stop()
    assert launched.left_behind() == NOTHING


def test_stub_is_killed_while_loading(launch):
    launched = launch(model=BLOCKS_LOADING)
    launched.logged("initialize() began")
    os.kill(launched.process_id("triton_python_backend_stub"), signal.SIGKILL)
    assert launched.wait() == 1
    assert launched.stdout == ""
    assert launched.left_behind() == NOTHING


def test_stub_that_dies_before_its_model(launch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(DIES_AS_A_STUB)
    launched = launch(env={"PYTHONPATH": str(tmp_path)})
    assert launched.wait() == 128 + signal.SIGKILL
    assert "a model's process died before it could say why" in launched.log
    assert launched.left_behind() == NOTHING


def test_model_that_does_not_load(launch):
    launched = launch(model="\ndef initialize():\n    raise ValueError('weights are missing')\n")
    assert launched.wait() == 1
    assert launched.stdout == ""
    assert "ValueError: weights are missing" in launched.log
    assert "alpamayo-serve: tritonserver exited with code 1" in launched.log
    assert launched.left_behind() == NOTHING


def test_launcher_is_killed(launch):
    launched = launch()
    launched.ports()
    launched.process.kill()
    launched.wait()
    until(lambda: launched.left_behind()[:2] == NOTHING[:2], "the server to exit and clean up")
    assert launched.left_behind() != NOTHING  # its folder, which the next launcher removes
    following = launch(env={"TMPDIR": str(launched.folder / "tmp")})
    following.ports()
    assert following.stop() == 0, following.log
    assert launched.left_behind() == NOTHING
