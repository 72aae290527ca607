"""Throwaway model repositories, and `alpamayo-serve` around them as users run it: the console script as a process."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpcclient

SCRIPT = Path(sys.executable).with_name("alpamayo-serve")
ANY_PORTS = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")
DEADLINE_S = 60

CONFIG = """
name: "echo"
backend: "python"
max_batch_size: 0
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""

# What a test adds goes in front of these two.
MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        initialize()

    def execute(self, requests):
        return [execute(request) for request in requests]


def initialize():
    print("initialized")


def execute(request):
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    return pb_utils.InferenceResponse([pb_utils.Tensor("y", x)])
"""


BLOCKS_LOADING = """
import subprocess, time

def initialize():
    subprocess.Popen(["tail", "-f", __file__], start_new_session=True)  # not in the server's process group
    print("initialize() began", flush=True)
    time.sleep(1e6)
"""

# Answers once a file called `release` lies beside it.
BLOCKS_REQUESTS = """
import pathlib, time

def execute(request):
    print("executing", flush=True)
    while not pathlib.Path(__file__).with_name("release").exists():
        time.sleep(0.02)
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    return pb_utils.InferenceResponse([pb_utils.Tensor("y", x)])
"""


def write_repository(folder: Path, *, model: str = "", config: str = "", flags: str = "") -> Path:
    """One model, `echo`; `model` redefines initialize() and execute(request), `config` goes into its config.pbtxt."""
    (folder / "echo" / "1").mkdir(parents=True)
    (folder / "echo" / "config.pbtxt").write_text(CONFIG + config)
    (folder / "echo" / "1" / "model.py").write_text(MODEL + model)
    (folder / "alpamayo.json").write_text("{}")
    (folder / "tritonserver_flags").write_text(flags)
    return folder


def until(condition, what: str):
    """The first true value of `condition()`; fails after a deadline that no machine should need."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.02)
    return value


@dataclass
class Launched:
    """A running `alpamayo-serve`; stdout and stderr are files, and everything it writes to is under `folder`."""

    process: subprocess.Popen
    folder: Path

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def ports(self, servers: int = 1) -> dict[str, int]:
        """Waits for the ready line, or until so many servers one after the other have been ready: all said the same."""
        until(lambda: self.stdout.count("\n") >= servers or self.process.poll() is not None, "the ready line")
        lines = set(self.stdout.splitlines())
        ready = re.fullmatch(
            r"alpamayo-serve: ready, gRPC 127\.0\.0\.1:(\d+), HTTP 127\.0\.0\.1:(\d+), "
            r"metrics http://127\.0\.0\.1:(\d+)/metrics",
            lines.pop() if len(lines) == 1 else "",
        )
        assert ready, (self.stdout, self.log)
        return dict(zip(("grpc", "http", "metrics"), map(int, ready.groups()), strict=True))

    def logged(self, words: str) -> None:
        until(lambda: words in self.log or self.process.poll() is not None, repr(words))
        assert words in self.log, self.log

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        self.process.send_signal(signal_number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(timeout=DEADLINE_S)

    def processes(self) -> dict[int, str]:
        """The server and its stubs, by their command lines: process id to program."""
        found = {}
        for command_line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = command_line.read_bytes().split(b"\0")
            except OSError:
                continue
            pid = int(command_line.parent.name)
            if pid != self.process.pid and str(self.folder).encode() in b" ".join(words):
                found[pid] = Path(os.fsdecode(words[0])).name
        return found

    def process_id(self, program: str) -> int:
        return next(pid for pid, name in self.processes().items() if name == program)

    def stub_of(self, model: str) -> int:
        arguments = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in self.processes()}
        return next(pid for pid, words in arguments.items() if words[1].endswith(f"/{model}/1/model.py"))

    def shared_memory(self) -> list[str]:
        return [name for name in os.listdir("/dev/shm") if name.startswith(f"alpamayo_serve_{self.process.pid}_")]

    def left_behind(self) -> tuple:
        return self.processes(), self.shared_memory(), os.listdir(self.folder / "tmp")


NOTHING = ({}, [], [])
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def listening(pids: Iterable[int]) -> set[str]:
    """The addresses on which these processes listen, as /proc/net has them."""
    links = [link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    sockets = {os.readlink(link) for link in links}
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            # A UDP socket has no such state: any that is bound counts.
            if (fields[3] == "0A" or table.startswith("udp")) and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].rpartition(":")[0])
    return found


def infer(launched: Launched, answers: list) -> threading.Thread:
    """Sends a request from a thread of its own; the answer, or the error, is appended to `answers`."""
    url = f"127.0.0.1:{launched.ports()['grpc']}"

    def run():
        x = grpcclient.InferInput("x", [1], "FP32").set_data_from_numpy(np.float32([7]))
        try:
            with grpcclient.InferenceServerClient(url) as client:
                answers.append(client.infer("echo", [x]).as_numpy("y").tolist())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread
