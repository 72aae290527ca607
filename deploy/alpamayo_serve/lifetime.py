"""One server process, from its start to its end, and nothing left behind."""

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import strsignal

from alpamayo_model_repository.cancellations import CANCELLED_FILE, cancelled_file
from alpamayo_model_repository.server_stopping import STOPPING_FILE

from alpamayo_serve.children import children, end_with_parent, kill_children
from alpamayo_serve.endpoints import Endpoints
from alpamayo_serve.loading import Loading, say
from alpamayo_serve.stop_signals import unblock_signals, wait_for_stop
from alpamayo_serve.stopping import Stopping
from alpamayo_serve.stubs import Stubs

PROBE_INTERVAL_S = 0.2
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class End:
    """Of a server: its exit code, 128 + n if signal n killed it; whether it had been ready; whether it was told to."""

    code: int
    was_ready: bool
    told_to_stop: bool


def run_once(
    command: Sequence[str],
    environment: Mapping[str, str],
    models: Sequence[str],
    endpoints: Endpoints,
    exit_timeout_s: int,
) -> End:
    """Runs `command` until it exits. Needs adopt_orphans() and block_signals().

    The first stop signal ends the server once the requests under way are answered (`stopping.py`); the next one kills
    it. It is also killed if it outlives the `exit_timeout_s` that `command` gives it, and when a model's process dies:
    whoever waits for it gets an error now, not when Triton notices. If all are answered and only idle HTTP connections
    keep it, it is killed as well, with exit code 0. What it leaves behind is removed: processes, shared memory.
    """
    launcher = os.getpid()
    others = children(launcher)  # of whoever exec'ed this program
    regions = f"alpamayo_serve_{launcher}_{secrets.token_hex(4)}_"

    stopping_file = SHARED_MEMORY / f"{regions}stopping"

    def prepare() -> None:
        end_with_parent(launcher)  # the server then cleans up after itself; this program has one thread, as that needs
        unblock_signals()

    try:
        with cancelled_file() as cancelled:
            server = subprocess.Popen(
                [*command, f"--backend-config=python,shm-region-prefix-name={regions}"],
                env={**environment, STOPPING_FILE: str(stopping_file), CANCELLED_FILE: cancelled},
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,  # what models print; this program's own stdout has the ready lines only
                start_new_session=True,  # Ctrl-C reaches the launcher, not the server and its stubs as well
                preexec_fn=prepare,
            )
            loading = Loading(server.pid, models, endpoints)
            return _supervise(server, loading, Stopping(server, endpoints, exit_timeout_s, stopping_file))
    finally:
        kill_children(except_for=others)
        for region in SHARED_MEMORY.glob(f"{regions}*"):
            region.unlink(missing_ok=True)


def _supervise(server: subprocess.Popen[bytes], loading: Loading, stopping: Stopping) -> End:
    """Reports readiness and forwards signals until the server exits."""
    ready, stubs = False, Stubs(server.pid)
    while (code := server.poll()) is None:
        if stopping.begun:
            stopping.go_on()
        if ready and not stopping.told and (death := stubs.death()):
            say(f"{death}: ending tritonserver, which cannot start it again")
            server.kill()
        elif not ready and not stopping.begun:
            stubs.look()
            ready = loading.ready()
            if not ready and loading.hopeless():
                say("a model's process died before it could say why, and tritonserver keeps waiting for it: killing it")
                server.kill()
        if wait_for_stop(PROBE_INTERVAL_S):  # or the exit of the server
            stopping.signal(ready)
    if stopping.cut_short:
        code = 0
    elif code < 0:
        say(f"tritonserver was killed by signal {-code} ({strsignal(-code)})")
    elif code > 0:
        why = "" if ready else "; why, its table of models says, or the line before its usage, or those before this one"
        say(f"tritonserver exited with code {code}{why}")
    return End(code if code >= 0 else 128 - code, ready, stopping.begun)
