"""Addresses and ports: which ones, and that they are free."""

import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise

from alpamayo_model_repository.own_server import OwnServer

from alpamayo_serve.errors import LaunchError

HTTP_RESTRICTION = "--http-restricted-api"
SWITCHED_OFF = ("model-repository", "trace", "logging")
"""What Triton offers on every port and no client of ours needs; trace and log settings name files to write."""


@dataclass(frozen=True)
class Endpoints:
    """Where the server listens: one IPv4 address, three TCP ports."""

    address: str
    grpc_port: int
    http_port: int
    metrics_port: int

    def flags(self) -> list[str]:
        """HTTP and the metrics are always on: the launcher learns there that models are ready, and at work."""
        return [
            "--allow-http=true",
            "--allow-metrics=true",
            *(f"--{service}-address={self.address}" for service in ("grpc", "http", "metrics")),
            f"--grpc-port={self.grpc_port}",
            f"--http-port={self.http_port}",
            f"--metrics-port={self.metrics_port}",
        ]

    @property
    def http(self) -> str:
        """Where this machine asks over HTTP: host:port."""
        return f"{self._here}:{self.http_port}"

    @property
    def metrics(self) -> str:
        """Where this machine finds the metrics: host:port."""
        return f"{self._here}:{self.metrics_port}"

    @property
    def _here(self) -> str:
        return "127.0.0.1" if self.address == "0.0.0.0" else self.address

    def own_server(self, given: Sequence[str]) -> OwnServer:
        """For the models of a server with the flags `given`."""
        name, _, value = _restricted(HTTP_RESTRICTION, given).get("inference", "").partition("=")
        return OwnServer(self.http, self.metrics, {name: value} if name else {})

    def __str__(self) -> str:
        return (
            f"gRPC {self.address}:{self.grpc_port}, HTTP {self.address}:{self.http_port}, "
            f"metrics http://{self.address}:{self.metrics_port}/metrics"
        )


@contextmanager
def reserved_endpoints(host: str, grpc_port: int, http_port: int, metrics_port: int) -> Iterator[Endpoints]:
    """Three free ports of `host`, 0 meaning any, which nobody else is given while the server loads.

    Each is bound with SO_REUSEADDR and never listened on: the kernel then lets the server, which binds the same way,
    listen, and counts the port as taken when another process asks for any free one.
    """
    try:
        address = socket.gethostbyname(host or "(empty)")  # the empty name means every address
    except OSError as error:
        raise LaunchError(f"--host {host}: {error.strerror}; wanted an IPv4 address or name of this machine") from None
    with ExitStack() as stack:
        ports = []
        for option, wanted in (
            ("--grpc-port", grpc_port),
            ("--http-port", http_port),
            ("--metrics-port", metrics_port),
        ):
            if wanted in ports:
                raise LaunchError(f"{option} {wanted}: the three ports must differ")
            reservation = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reservation.bind((address, wanted))
            except (OSError, OverflowError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise LaunchError(
                    f"cannot listen on {address}:{wanted}: {reason}; choose another {option} or --host"
                ) from None
            ports.append(reservation.getsockname()[1])
        yield Endpoints(address, *ports)


def restrictions(given: Sequence[str]) -> Iterator[str]:
    """The flags that refuse SWITCHED_OFF to everybody, but for what the flags `given` restrict in their own way.

    Triton has no switch for them, only a header's value that a request must have. A line's end is in no header; and who
    is on another machine cannot see the rest.
    """
    nobody = secrets.token_hex(16) + "\n"
    for flag in ("--grpc-restricted-protocol", HTTP_RESTRICTION):
        own = _restricted(flag, given)
        if off := [name for name in SWITCHED_OFF if name not in own]:
            yield f"{flag}={','.join(off)}:nobody={nobody}"


def _restricted(flag: str, given: Sequence[str]) -> dict[str, str]:
    """What the flags `given` let only those do who know a header, key=value."""
    values = [word.removeprefix(f"{flag}=") for word in given if word.startswith(f"{flag}=")]
    values += [value for word, value in pairwise(given) if word == flag]
    parts = [value.partition(":") for value in values]
    return {name: key for names, _, key in parts for name in names.split(",")}
