"""The life of the server process: signals, and nothing left behind."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from alpamayo_serve.children import adopt_orphans, children, end_with_parent, kill_children
from alpamayo_serve.endpoints import Endpoints
from alpamayo_serve.loading import Loading, say

PROBE_INTERVAL_S = 0.2
IDLE_INTERVAL_S = 60.0
EXIT_MARGIN_S = 5.0  # a server that outlives its own timeout by this hangs

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
SHARED_MEMORY = Path("/dev/shm")


def block_signals() -> None:
    """From here on, signals wait until run_server() takes them, so that none can end the launcher between two steps.

    SIGHUP stays as it is under nohup.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _awaited_signals())


def run_server(
    command: Sequence[str],
    environment: Mapping[str, str],
    models: Sequence[str],
    endpoints: Endpoints,
    exit_timeout_s: int,
) -> int:
    """Runs `command` until it exits; returns its exit code, 128 + n if signal n killed it. Needs block_signals().

    The first stop signal asks the server to finish the requests in flight and exit; the next one kills it. It is also
    killed if it outlives the `exit_timeout_s` that `command` gives it. Whatever it leaves behind, processes or shared
    memory, is removed.
    """
    launcher = os.getpid()
    adopt_orphans()
    others = children(launcher)  # of whoever exec'ed this program
    regions = f"alpamayo_serve_{launcher}_{secrets.token_hex(4)}_"

    def prepare() -> None:
        end_with_parent(launcher)  # the server then cleans up after itself; this program has one thread, as that needs
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    try:
        server = subprocess.Popen(
            [*command, f"--backend-config=python,shm-region-prefix-name={regions}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,  # what models print; this program's own stdout has the ready line only
            start_new_session=True,  # Ctrl-C reaches the launcher, not the server and its stubs as well
            preexec_fn=prepare,
        )
        code = _supervise(server, Loading(server.pid, models, endpoints), exit_timeout_s + EXIT_MARGIN_S)
    finally:
        kill_children(except_for=others)
        for region in SHARED_MEMORY.glob(f"{regions}*"):
            region.unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


def _supervise(server: subprocess.Popen[bytes], loading: Loading, patience_s: float) -> int:
    """Reports readiness and forwards signals until the server exits; returns its code, -n if signal n killed it."""
    ready = False
    stopping_since = None
    while (code := server.poll()) is None:
        if stopping_since is not None:
            if time.monotonic() - stopping_since > patience_s:
                say(f"tritonserver did not exit within {patience_s:.0f} s, killing it")
                server.kill()
        elif not ready:
            ready = loading.ready()
            if not ready and loading.hopeless():
                say("a model's process died before it could say why, and tritonserver keeps waiting for it: killing it")
                server.kill()
        idle = ready and stopping_since is None
        # The exit of the server is a signal, too (SIGCHLD).
        received = signal.sigtimedwait(_awaited_signals(), IDLE_INTERVAL_S if idle else PROBE_INTERVAL_S)
        if received is not None and received.si_signo in STOP_SIGNALS:
            server.send_signal(signal.SIGTERM if stopping_since is None else signal.SIGKILL)
            stopping_since = stopping_since or time.monotonic()
    if code < 0:
        say(f"tritonserver was killed by signal {-code} ({signal.strsignal(-code)})")
    elif code > 0:
        say(f"tritonserver exited with code {code}")
    return code


def _awaited_signals() -> set[signal.Signals]:
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    return STOP_SIGNALS - ignored | {signal.SIGCHLD}
