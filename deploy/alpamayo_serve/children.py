"""The processes below this one: Linux has what it takes to lose none."""

import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)  # loaded now: between fork and exec it might deadlock


@dataclass(frozen=True)
class Process:
    """What proc(5) tells about a process. `ended`: it is not reaped yet, and `wait_status` is what wait() will say."""

    parent: int
    ended: bool
    wait_status: int

    @classmethod
    def read(cls, pid: int) -> "Process | None":
        """None if there is none."""
        try:
            # "pid (name) state parent ... status"; the name may hold anything.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return cls(int(fields[1]), fields[0] in "ZX", int(fields[49]))


def adopt_orphans() -> None:
    """From here on, whatever loses its parent below this process becomes a child of it, not of init."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> None:
    """Between fork and exec: have the kernel send SIGTERM when the thread that forked ends, if only by SIGKILL."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def children(parent: int, ended_only: bool = False) -> set[int]:
    """Ids of the direct children; with `ended_only`, of those that are not reaped yet."""
    processes = {int(folder.name): Process.read(int(folder.name)) for folder in Path("/proc").glob("[0-9]*")}
    return {
        pid
        for pid, process in processes.items()
        if process is not None and process.parent == parent and (process.ended or not ended_only)
    }


def kill_children(except_for: set[int]) -> None:
    """Kills and reaps until none is left; needs adopt_orphans(): the children of each that dies become ours."""
    while pids := children(os.getpid()) - except_for:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value)) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
