"""The models' own processes, Triton's "stubs": children of tritonserver."""

import os
import signal
from pathlib import Path

from alpamayo_serve.children import Process, children


class Stubs:
    """Those of a server that is ready. It does not notice when one dies: the model stays "ready" (Triton's issue 8604),
    each of its requests takes a second or two to fail, and the process is not started again.
    """

    def __init__(self, server_pid: int) -> None:
        self._models = {pid: _model(pid) for pid in children(server_pid)}

    def death(self) -> str | None:
        """Who died, and how, in words; None while all live. Costs a read of a small file each."""
        for pid, model in self._models.items():
            process = Process.read(pid)
            if process is None or process.ended:
                return f"the process of {model} ({pid}) {_how(process)}"
        return None


def _model(pid: int) -> str:
    """Its first argument is .../MODEL/VERSION/model.py; it has none if it is dead already."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        return Path(arguments[1]).parts[-3]
    except (OSError, IndexError):
        return "a model"


def _how(process: Process | None) -> str:
    if process is None:
        return "is gone"
    if os.WIFSIGNALED(process.wait_status):
        number = os.WTERMSIG(process.wait_status)
        return f"was killed by signal {number} ({signal.strsignal(number)})"
    return f"exited with code {os.WEXITSTATUS(process.wait_status)}"
