"""A served repository for as long as a block of Python runs: for scripts, benchmarks and tests."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alpamayo_serve.endpoints import Endpoints
from alpamayo_serve.errors import LaunchError

_READY = re.compile(r"alpamayo-serve: ready, gRPC (\S+):(\d+), HTTP \S+:(\d+), metrics http://\S+:(\d+)/metrics\n")


@contextmanager
def serving(repository: Path, log: Path) -> Iterator[Endpoints]:
    """Runs `alpamayo-serve repository` on free ports; yields when every model is ready, stops it at the end.

    Args:
        repository: what `alpamayo-export` wrote.
        log: where the server's log goes.

    Raises:
        LaunchError: the server did not start, or did not stop with code 0.
    """
    ports = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")
    # A server that dies is an error here: what is measured must not be half of one and half of another.
    options = (*ports, "--max-restarts", "0")
    command: list[str | Path] = [Path(sys.executable).with_name("alpamayo-serve"), repository, *options]
    with log.open("w") as stderr:
        launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        try:
            assert launcher.stdout is not None
            ready = _READY.fullmatch(launcher.stdout.readline())
            if not ready:
                launcher.wait()
                raise LaunchError(f"the server did not start; the end of {log}:\n{_tail(log)}")
            address, *port = ready.groups()
            yield Endpoints(address, *map(int, port))
        finally:
            launcher.terminate()
            code = launcher.wait()
    if code:
        raise LaunchError(f"the server stopped with code {code}; the end of {log}:\n{_tail(log)}")


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
