"""A server's end, once it has been told to stop."""

import subprocess
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM

from alpamayo_serve.endpoints import Endpoints
from alpamayo_serve.loading import say
from alpamayo_serve.probe import idle_http_connections, requests_under_way

EXIT_MARGIN_S = 5.0  # a server that outlives its own timeout by this hangs
# Triton waits for clients to close their HTTP connections, idle ones too, and then has no time left to end in order.
IDLE_CONNECTIONS_S = 2.0
QUIET_PROBES = 2  # one may fall between two stages of a request


class Stopping:
    """Waits until no request is under way before it tells Triton, for that would let none enter its next stage.

    Half of `exit_timeout_s` long, everybody is answered. Then `file` appears, by which the reasoner knows to begin
    nothing new: who asks on and on keeps no one from being answered to the end. It appears as well when Triton is told:
    who asks then, over a connection that is still open, must know that there will be no answer.
    """

    def __init__(self, server: subprocess.Popen[bytes], endpoints: Endpoints, exit_timeout_s: int, file: Path) -> None:
        self._server, self._endpoints, self._exit_timeout_s, self._file = server, endpoints, exit_timeout_s, file
        self._since: float | None = None
        self._quiet = 0
        self._told_at: float | None = None
        self.cut_short = False
        """The server was killed though nothing is wrong: only idle connections kept it."""

    @property
    def told(self) -> bool:
        """Whether Triton knows, and ends its models' processes."""
        return self._told_at is not None

    @property
    def begun(self) -> bool:
        """Whether a stop signal has come."""
        return self._since is not None

    def signal(self, ready: bool) -> None:
        """A stop signal has come: the first one begins, the next one kills. Nobody waits for a server that loads."""
        if self.begun:
            self._server.send_signal(SIGKILL)
            return
        self._since = time.monotonic()
        if not ready:
            self._tell()

    def go_on(self) -> None:
        """Looks whether it is time for the next step; to be called again and again once it has begun."""
        assert self._since is not None
        passed_s = time.monotonic() - self._since
        if passed_s > self._exit_timeout_s + EXIT_MARGIN_S:
            say(f"tritonserver did not exit within {passed_s:.0f} s, killing it")
            self._server.kill()
        elif self._told_at is None:
            self._wait_for_quiet(passed_s)
        elif self._quiet == QUIET_PROBES and time.monotonic() - self._told_at > IDLE_CONNECTIONS_S:
            self._cut_idle_connections()

    def _wait_for_quiet(self, passed_s: float) -> None:
        self._quiet = self._quiet + 1 if requests_under_way(self._endpoints) == 0 else 0
        if self._quiet == QUIET_PROBES or passed_s > self._exit_timeout_s:
            self._tell()
        elif passed_s > self._exit_timeout_s / 2 and not self._file.exists():
            say("requests keep coming: from now on they are turned away")
            self._file.touch()

    def _tell(self) -> None:
        self._file.touch()
        self._server.send_signal(SIGTERM)
        self._told_at = time.monotonic()

    def _cut_idle_connections(self) -> None:
        if not self.cut_short and (connections := idle_http_connections(self._endpoints)):
            say(f"every request is answered, but {connections} idle HTTP connections are open: killing tritonserver")
            self._server.kill()
            self.cut_short = True
