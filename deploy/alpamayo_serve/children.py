"""The processes below this one: Linux has what it takes to lose none."""

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)  # loaded now: between fork and exec it might deadlock


def adopt_orphans() -> None:
    """From here on, whatever loses its parent below this process becomes a child of it, not of init."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> None:
    """Between fork and exec: have the kernel send SIGTERM when the thread that forked ends, if only by SIGKILL."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def children(parent: int, states: str = "") -> set[int]:
    """Ids of the direct children; with `states`, letters of proc(5), only those in one of them (Z: not reaped yet)."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name) state parent ..."; the name may hold anything.
            state, its_parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:  # gone meanwhile
            continue
        if int(its_parent) == parent and (not states or state in states):
            found.add(int(stat.parent.name))
    return found


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
