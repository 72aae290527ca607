"""A server that runs: what it is, what it answers, where it listens."""

import json
import os
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

MODEL = """
import json, sys

import helper_from_pythonpath

def initialize():
    print("printed by the model")
    print("interpreter", json.dumps([sys.version_info[:2], sys.base_prefix, sys.path]), flush=True)
"""


@pytest.fixture(scope="module")
def running(launch, tmp_path_factory):
    packages = tmp_path_factory.mktemp("packages")
    (packages / "helper_from_pythonpath.py").write_text("")
    flags = "--id=from-the-repository\n\n--log-info=true\n"
    launched = launch("--", "--id=from-the-command-line", model=MODEL, flags=flags, env={"PYTHONPATH": str(packages)})
    launched.ports()
    yield launched
    assert launched.stop() == 0, launched.log


def get(running, path: str, service: str = "http"):
    with urllib.request.urlopen(f"http://127.0.0.1:{running.ports()[service]}{path}") as response:
        return response.read()


def test_answers_over_grpc_when_ready(running):
    client = grpcclient.InferenceServerClient(f"127.0.0.1:{running.ports()['grpc']}")
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    x = grpcclient.InferInput("x", [3], "FP32").set_data_from_numpy(np.float32([1, 2, 3]))
    np.testing.assert_array_equal(client.infer("echo", [x]).as_numpy("y"), np.float32([1, 2, 3]))


def test_metrics_are_where_the_ready_line_says(running):
    assert b"nv_inference_request_success" in get(running, "/metrics", "metrics")


def test_stdout_has_the_ready_line_only(running):
    running.logged("printed by the model")
    assert len(running.stdout.splitlines()) == 1
    assert "waiting for the server, echo" in running.log


def test_models_run_in_this_python_with_its_packages_and_no_others(running):
    line = next(line for line in running.log.splitlines() if line.startswith("interpreter"))
    version, base_prefix, path = json.loads(line.removeprefix("interpreter"))
    assert (tuple(version), base_prefix) == (sys.version_info[:2], sys.base_prefix)
    own = {folder for folder in path if folder.endswith("-packages") and str(running.folder) not in folder}
    assert own == {folder for folder in sys.path if folder.endswith("-packages")}


def test_listens_on_loopback_only(running):
    pid = running.process_id("tritonserver")
    sockets = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    listening = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address, port = fields[1].split(":")
                listening[int(port, 16)] = address
    assert set(listening) == set(running.ports().values())
    for address in listening.values():
        assert address in ("0100007F", "0000000000000000FFFF00000100007F")


def test_flags_of_the_repository_and_then_of_the_command_line(running):
    words = Path(f"/proc/{running.process_id('tritonserver')}/cmdline").read_text().split("\0")
    assert "--log-info=true" in words
    assert words.index("--id=from-the-repository") < words.index("--id=from-the-command-line")
    assert json.loads(get(running, "/v2"))["name"] == "from-the-command-line"
