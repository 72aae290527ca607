"""A real tritonserver, run as users run it: `alpamayo-serve` as a process of its own, on free ports."""

import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

SCRIPTS = Path(sys.executable).parent  # where the project's console scripts are
# Who may change how much is logged: with this header alone. It is off for all others, as for everybody else's server.
LOG_SETTINGS = ("--", "--grpc-restricted-protocol=logging:tests=allowed")
LOG_HEADER = {"triton-grpc-protocol-tests": "allowed"}
START_S = 180  # for a machine under load; a server that hangs must not hang the tests
STOP_S = 60

READY = re.compile(r"alpamayo-serve: ready, gRPC (\S+:\d+), HTTP (\S+:\d+), metrics (http://\S+/metrics)\n")


@dataclass(frozen=True)
class LiveServer:
    """Where it answers (host:port for gRPC and HTTP, a URL for the metrics), its log, and its launcher's process id."""

    grpc: str
    http: str
    metrics: str
    log: Path
    launcher: int

    def shared_memory_bytes(self) -> int:
        """What it holds in /dev/shm."""
        return sum(path.stat().st_size for path in Path("/dev/shm").glob(_prefix(self.launcher) + "*"))

    def scrape(self) -> list[Sample]:
        """What Prometheus gets."""
        with urllib.request.urlopen(self.metrics) as response:
            text = response.read().decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        names = set(re.findall(r"^(\w+)\{", text, re.M))  # the parser adds _total to counters that lack it
        return [it if it.name in names else it._replace(name=it.name.removesuffix("_total")) for it in samples]

    def metric(self, name: str, **labels: str) -> float:
        """The one sample of that name that has those labels, and perhaps others."""
        (value,) = (it.value for it in self.scrape() if it.name == name and labels.items() <= it.labels.items())
        return value

    def runs(self, model: str) -> int:
        """How many requests `model` has begun to work on, while Triton's log is verbose: nothing else says it."""
        return self.log.read_text().count(f"model {model}, instance {model}_0_0, executing 1 requests")

    def waiting(self, model: str) -> int:
        """Requests that wait for an instance of `model` to become free."""
        return int(self.metric("nv_inference_pending_request_count", model=model))


@contextmanager
def live_server(
    repository: Path, folder: Path, *options: str, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[LiveServer]:
    """Serves `repository` in the block. At its end SIGTERM must lead to exit code 0, with nothing left behind.

    `folder`: for its log and its temporary files; `options`: of alpamayo-serve; `environment`: more of it.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    command = [SCRIPTS / "alpamayo-serve", repository, "--grpc-port=0", "--http-port=0", "--metrics-port=0", *options]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"TMPDIR": str(temporary)} | dict(environment),
        )
    try:
        yield LiveServer(*_ready_line(process, folder / "log"), folder / "log", process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert left_behind(process.pid) == []
    assert list(temporary.iterdir()) == []
    # Every refusal below is an answer; what a stage logs with a traceback is an error that it did not expect.
    assert "Traceback" not in (folder / "log").read_text()


def _ready_line(process: subprocess.Popen, log: Path) -> tuple[str, ...]:
    readable, _, _ = select.select([process.stdout], [], [], START_S)
    line = process.stdout.readline() if readable else ""
    ready = READY.fullmatch(line)
    assert ready, (line, log.read_text())
    return ready.groups()


def _prefix(launcher: int) -> str:
    return f"alpamayo_serve_{launcher}_"


def left_behind(launcher: int) -> list[str]:
    """Shared memory of the launcher's server, and processes that know its name: the server and its stubs."""
    prefix = _prefix(launcher)
    found = [name for name in os.listdir("/dev/shm") if name.startswith(prefix)]
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if prefix.encode() in command_line.read_bytes():
                found.append(str(command_line))
        except OSError:  # gone meanwhile
            continue
    return found


def heed_ctrl_c() -> None:
    """For a process that is to be interrupted, before it starts: a parent in the background has switched it off."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(condition: Callable[[], bool], what: str) -> None:
    """Returns once `condition()` is true; fails after a time that no machine should need."""
    end = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < end, f"waited {START_S} s for {what}"
        time.sleep(0.02)
