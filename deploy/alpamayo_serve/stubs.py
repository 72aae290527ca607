"""The models' own processes, Triton's "stubs": children of tritonserver."""

import os
import signal
from pathlib import Path

from alpamayo_serve.children import Process, children


class Stubs:
    """Those of one server. Once it is ready, it does not notice when one dies: the model stays "ready" (Triton's issue
    8604), each of its requests takes a second or two to fail, and the process is not started again.
    """

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._models: dict[int, str] = {}

    def look(self) -> None:
        """While it loads: who is there. By the time that it is known to be ready, one may be dead, and nameless."""
        self._models = {pid: _model(pid) or self._models.get(pid, "a model") for pid in children(self._server_pid)}

    def death(self) -> str | None:
        """Who died, and how, in words; None while all live. Costs a read of a small file each."""
        for pid, model in self._models.items():
            process = Process.read(pid)
            if process is None or process.ended:
                return f"the process of {model} ({pid}) {_how(process)}"
        return None


def _model(pid: int) -> str | None:
    """By the first argument, .../MODEL/VERSION/model.py; a dead process has none."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        return Path(arguments[1]).parts[-3]
    except (OSError, IndexError):
        return None


def _how(process: Process | None) -> str:
    if process is None:
        return "is gone"
    if os.WIFSIGNALED(process.wait_status):
        number = os.WTERMSIG(process.wait_status)
        return f"was killed by signal {number} ({signal.strsignal(number)})"
    return f"exited with code {os.WEXITSTATUS(process.wait_status)}"
