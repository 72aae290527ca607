"""The gRPC channel's settings, what goes along with every call, and patience while a server starts."""

import math
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import InferenceServerClientPlugin

from .checks import check_float
from .errors import InvalidRequestError, UnavailableError

CONTROL_CALL_S = 10.0
"""Limit for calls that do no model work."""
PROBE_S = 5.0
CANCEL_S = 1.0
"""Limit for telling the server that a call is given up, and for its end then."""
GRACE_S = 2.0
"""How long gRPC lets a call live that nobody waits for any more. It ends by itself, as the server stops working on it:
Triton 2.51 can crash when gRPC cancels a call at the moment in which it is answered."""
SETTLE_S, SETTLE_POLL_S = 0.5, 0.01  # statistics come shortly after the answer
FORGET_S = 2.0  # until a request that was given up lets go of its shared memory
POLL_S = 0.2

CHANNEL_ARGS: Final = (
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # A server that loads a large model refuses connections for minutes: notice it within a second when it is there,
    # not after gRPC's own two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def check_url(url: str) -> str:
    """`host:port` of the server's gRPC endpoint. Raises InvalidRequestError."""
    match = re.fullmatch(r"[^/]+:(\d{1,5})", url) if isinstance(url, str) else None
    if not match or not 0 < int(match[1]) < 2**16:
        raise InvalidRequestError(f"url: got {url!r}, wanted host:port of the gRPC endpoint, such as localhost:8001")
    return url


@dataclass(frozen=True)
class Tls:
    """A connection that is encrypted, to a server that has proved who it is. All are names of PEM files.

    Attributes:
        root_certificates: whom to trust; None: whom gRPC trusts.
        private_key, certificate_chain: the client's own, for a server that wants to know who asks; both or neither.

    Raises InvalidRequestError for one of the two alone, OSError for a file that cannot be read.
    """

    root_certificates: str | None = None
    private_key: str | None = None
    certificate_chain: str | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            alone = "private_key" if self.certificate_chain is None else "certificate_chain"
            raise InvalidRequestError(f"Tls: got {alone} alone, wanted private_key and certificate_chain, or neither")
        for file in filter(None, asdict(self).values()):
            Path(file).read_bytes()  # here: gRPC's own errors do not say which


def channel(tls: Tls | None) -> dict[str, Any]:
    """What tritonclient's clients, the blocking one and asyncio's, take besides the address.

    Raises InvalidRequestError for what is neither.
    """
    if tls is None:
        return {"channel_args": CHANNEL_ARGS}
    if not isinstance(tls, Tls):
        raise InvalidRequestError(f"tls: got {tls!r}, wanted an alpamayo_client.Tls, or None for no encryption")
    return {"channel_args": CHANNEL_ARGS, "ssl": True, **asdict(tls)}


class Headers(InferenceServerClientPlugin):
    """What tritonclient sends along with every call, as gRPC metadata."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """Raises InvalidRequestError for what gRPC cannot send; names are lower case there."""
        if not isinstance(headers, Mapping) or not all(isinstance(it, str) for item in headers.items() for it in item):
            raise InvalidRequestError("headers: wanted a dict of names and values, both str")
        self._headers = {name.lower(): value for name, value in headers.items()}
        for name, value in self._headers.items():
            if not re.fullmatch(r"[0-9a-z_.-]+(?<!-bin)", name) or not re.fullmatch(r"[ -~]*", value):
                raise InvalidRequestError(
                    f"headers: got {name!r} with a value of {len(value)} characters, wanted names of letters, digits, "
                    "'_', '-' and '.', not ending in -bin, and values of printable ASCII"
                )

    def __call__(self, request: Any) -> None:
        """For tritonclient, before it sends."""
        request.headers = {**(request.headers or {}), **self._headers}


class Budget:
    """What is left of a call's `timeout_s`, from now on; None: it has no limit."""

    def __init__(self, timeout_s: float | None) -> None:
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    def left_s(self) -> float | None:
        """A little at least, in which nothing can be done: who waits for it runs out of time, as it should."""
        return None if self._end is None else max(self._end - time.monotonic(), 1e-3)

    def grpc_s(self) -> float | None:
        """For gRPC, which must not end the call when the caller does."""
        left_s = self.left_s()
        return None if left_s is None else left_s + GRACE_S

    def control_s(self) -> float:
        """For a call of it that does no model work."""
        return min(self.left_s() or CONTROL_CALL_S, CONTROL_CALL_S)


class Patience:
    """Limits a series of probes to `timeout_s` seconds, of which there is always at least one."""

    def __init__(self, url: str, timeout_s: float) -> None:
        if math.isnan(check_float("timeout_s", timeout_s)):
            raise InvalidRequestError("timeout_s: got nan, wanted seconds")
        self._url = url
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    @property
    def probe_s(self) -> float:
        """Seconds that one call of a probe may take."""
        return min(PROBE_S, max(POLL_S, self._end - time.monotonic()))

    def pause_s(self, reason: str) -> float:
        """Seconds until the next probe. Raises UnavailableError with `reason` when no time is left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise UnavailableError(f"{self._url} is not ready after {self._timeout_s:g} s: {reason}")
        return min(POLL_S, left)
