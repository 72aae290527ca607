"""From the server's start until every model is ready."""

import sys
import time
from collections.abc import Sequence

from alpamayo_serve.children import children
from alpamayo_serve.endpoints import Endpoints
from alpamayo_serve.probe import is_ready

REPORT_INTERVAL_S = 10.0
DEAD_STUB_GRACE_S = 10.0


class Loading:
    """Asks the server how far it is, and tells the user: on stdout once it is ready, on stderr until then."""

    def __init__(self, server_pid: int, models: Sequence[str], endpoints: Endpoints) -> None:
        self._server_pid = server_pid
        self._models = models
        self._endpoints = endpoints
        self._started = self._next_report = time.monotonic()
        self._dead_stubs: dict[int, float] = {}

    def ready(self) -> bool:
        """Whether the server and every model are; says so once it is true, and every 10 s what it waits for."""
        waiting_for = self._not_ready()
        now = time.monotonic()
        if not waiting_for:
            print(f"alpamayo-serve: ready, {self._endpoints}", flush=True)
        elif now >= self._next_report:
            say(f"waiting for {', '.join(waiting_for)} ({now - self._started:.0f} s)")
            self._next_report = now + REPORT_INTERVAL_S
        return not waiting_for

    def hopeless(self) -> bool:
        """Whether a model's process (the stub) died and the server has not noticed.

        tritonserver notices within seconds, and exits, if the model had begun to load. If the stub died earlier, it
        waits for it forever.
        """
        now = time.monotonic()
        self._dead_stubs = {pid: self._dead_stubs.get(pid, now) for pid in children(self._server_pid, ended_only=True)}
        return any(now - since > DEAD_STUB_GRACE_S for since in self._dead_stubs.values())

    def _not_ready(self) -> list[str]:
        questions = {"the server": "/v2/health/ready"} | {model: f"/v2/models/{model}/ready" for model in self._models}
        return [name for name, path in questions.items() if not is_ready(self._endpoints, path)]


def say(message: str) -> None:
    """To the user, among the server's own log."""
    print(f"alpamayo-serve: {message}", file=sys.stderr, flush=True)
