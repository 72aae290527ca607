"""Servers one after the other: one that has served and died is started again, within bounds."""

import time
from collections.abc import Mapping, Sequence
from signal import SIGTERM

from alpamayo_serve.children import adopt_orphans
from alpamayo_serve.endpoints import Endpoints
from alpamayo_serve.lifetime import run_once
from alpamayo_serve.loading import say
from alpamayo_serve.restarts import WINDOW_S, Restarts
from alpamayo_serve.stop_signals import wait_for_stop

GAVE_UP = 1
STOPPED_UNREADY = 128 + SIGTERM  # as of a server that is told to stop while it loads


def run_server(
    command: Sequence[str],
    environment: Mapping[str, str],
    models: Sequence[str],
    endpoints: Endpoints,
    exit_timeout_s: int,
    max_restarts: int,
) -> int:
    """Runs `command`, again and again if it dies, until a stop signal ends it. Needs block_signals().

    If it dies before it was ever ready, it is not started again: another would die of the same.

    Returns:
        The last server's exit code, 128 + n if signal n killed it; 1 if it has died more than `max_restarts` times.
    """
    adopt_orphans()
    restarts = Restarts(max_restarts)
    served = False
    while True:
        end = run_once(command, environment, models, endpoints, exit_timeout_s)
        served = served or end.was_ready
        if end.told_to_stop or end.code == 0 or not served:
            return end.code
        wait_s = restarts.next_wait_s(time.monotonic())
        bound = f"restarts: at most {max_restarts} in {WINDOW_S // 60} minutes"
        if wait_s is None:
            say(f"giving up on tritonserver: {bound}")
            return GAVE_UP
        say(f"starting tritonserver again in {wait_s} s; {bound}")
        if _stopped_within(wait_s):
            return STOPPED_UNREADY


def _stopped_within(wait_s: float) -> bool:
    """Whether a stop signal came; a child's end, of which there may be news, does not shorten the wait."""
    until = time.monotonic() + wait_s
    while (left_s := until - time.monotonic()) > 0:
        if wait_for_stop(left_s):
            return True
    return False
