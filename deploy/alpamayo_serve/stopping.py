"""A server's end, once it has been told to stop."""

import subprocess
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM

from alpamayo_serve.endpoints import Endpoints
from alpamayo_serve.loading import say
from alpamayo_serve.probe import requests_under_way

EXIT_MARGIN_S = 5.0  # a server that outlives its own timeout by this hangs
QUIET_PROBES = 2  # one may fall between two stages of a request


class Stopping:
    """Waits until no request is under way before it tells Triton, for that would let none enter its next stage.

    Half of `exit_timeout_s` long, everybody is answered. Then `file` appears, by which the reasoner knows to begin
    nothing new: who asks on and on keeps no one from being answered to the end.
    """

    def __init__(self, server: subprocess.Popen[bytes], endpoints: Endpoints, exit_timeout_s: int, file: Path) -> None:
        self._server, self._endpoints, self._exit_timeout_s, self._file = server, endpoints, exit_timeout_s, file
        self._since: float | None = None
        self._quiet = 0
        self.told = False
        """Triton knows, and ends its models' processes."""

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
        elif not self.told:
            self._wait_for_quiet(passed_s)

    def _wait_for_quiet(self, passed_s: float) -> None:
        self._quiet = self._quiet + 1 if requests_under_way(self._endpoints) == 0 else 0
        if self._quiet == QUIET_PROBES or passed_s > self._exit_timeout_s:
            self._tell()
        elif passed_s > self._exit_timeout_s / 2 and not self._file.exists():
            say("requests keep coming: from now on they are turned away")
            self._file.touch()

    def _tell(self) -> None:
        self._server.send_signal(SIGTERM)
        self.told = True
