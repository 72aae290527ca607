"""tritonserver without the launcher, by the README's very words: closed as it says, and lacking what it says."""

import shlex
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from alpamayo_model_repository.own_server import get
from alpamayo_serve.children import children
from alpamayo_serve.endpoints import SWITCHED_OFF
from alpamayo_serve.server import find_server
from launched import DEADLINE_S, LOOPBACK, listening, until, write_repository
from tritonclient.utils import InferenceServerException

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SERVICES = ("grpc", "http", "metrics")
CALLS = {
    "model-repository": [("get_model_repository_index",), ("load_model", "echo"), ("unload_model", "echo")],
    "trace": [("get_trace_settings",), ("update_trace_settings", None, {"trace_rate": "1"})],
    "logging": [("get_log_settings",), ("update_log_settings", {"log_verbose_level": 1})],
}


@pytest.fixture(scope="module")
def command() -> str:
    """The indented block that has it."""
    (block,) = (it for it in README.split("\n\n") if " tritonserver --model-repository" in it)
    return block


@pytest.fixture(scope="module")
def server(command, repository, tmp_path_factory):
    """Runs it in a folder with a `repository`, on other ports. Its process id, and port by service."""
    folder = tmp_path_factory.mktemp("bare")
    models = write_repository(folder / "repository", flags="--backend-config=python,stub-timeout-seconds=61\n")
    for model in ("alpamayo_cancel", "alpamayo_unicycle"):
        shutil.copytree(repository / model, models / model)
    found = find_server(folder)
    ports = free_ports(len(SERVICES))
    others = [f"--{service}-port={port}" for service, port in zip(SERVICES, ports, strict=True)]
    (folder / "bin").mkdir()
    script = folder / "bin" / "tritonserver"
    script.write_text(f'#!/bin/sh\necho $$ > pid\nexec {found.executable} "$@" {shlex.join([*found.flags, *others])}\n')
    script.chmod(0o755)
    environment = found.environment | {"PATH": f"{script.parent}:{found.environment['PATH']}"}
    with open(folder / "log", "w") as log:
        shell = subprocess.Popen(["sh", "-c", command], cwd=folder, env=environment, stdout=log, stderr=log)
    pid_file = folder / "pid"
    try:
        until(lambda: is_ready(ports[1]) or shell.poll() is not None, "the server")
        assert shell.poll() is None, (folder / "log").read_text()
        yield int(pid_file.read_text()), dict(zip(SERVICES, ports, strict=True))
    finally:
        if shell.poll() is None and pid_file.exists():
            subprocess.run(["kill", pid_file.read_text().strip()], check=True)
        shell.wait(DEADLINE_S)


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for it in sockets:
            it.bind(("127.0.0.1", 0))
        return [it.getsockname()[1] for it in sockets]


def is_ready(port: int) -> bool:
    with httpclient.InferenceServerClient(f"127.0.0.1:{port}") as client:
        try:
            return client.is_server_ready()
        except OSError:
            return False


@pytest.fixture(params=["grpc", "http"])
def triton(request, server):
    module = {"grpc": grpcclient, "http": httpclient}[request.param]
    with module.InferenceServerClient(f"127.0.0.1:{server[1][request.param]}") as client:
        yield client


def test_it_listens_on_loopback_only(server):
    pid, _ = server
    pids = [pid, *children(pid)]
    assert len(pids) >= 3  # the server, its stubs
    assert listening(pids)
    assert listening(pids) <= LOOPBACK


@pytest.mark.parametrize("closed", SWITCHED_OFF)
@pytest.mark.parametrize("value", [None, "", "nobody", "$SECRET"])
def test_what_the_launcher_switches_off_is_closed(triton, closed, value):
    header = "triton-grpc-protocol-nobody" if isinstance(triton, grpcclient.InferenceServerClient) else "nobody"
    for call, *arguments in CALLS[closed]:
        with pytest.raises(InferenceServerException, match="restricted"):
            getattr(triton, call)(*arguments, headers=None if value is None else {header: value})


def test_it_serves_and_cancels_nothing(server):
    with grpcclient.InferenceServerClient(f"127.0.0.1:{server[1]['grpc']}") as triton:
        x = grpcclient.InferInput("x", [1], "FP32").set_data_from_numpy(np.float32([7]))
        assert triton.infer("echo", [x]).as_numpy("y").tolist() == [7]
        request_id = np.array([b"a call that is given up"], np.object_)
        given_up = grpcclient.InferInput("request_id", [1], "BYTES").set_data_from_numpy(request_id)
        assert triton.infer("alpamayo_cancel", [given_up]).as_numpy("noted").tolist() == [False]


def test_it_counts_no_knocks_and_says_so(server):
    """The alert that subtracts them would be silent without."""
    text = get(f"127.0.0.1:{server[1]['metrics']}", "/metrics")
    for priority in (1, 2, 3):
        assert f'alpamayo_queue_knocks_total{{model="alpamayo_unicycle",priority="{priority}"}} 0\n' in text
