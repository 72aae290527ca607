"""What a served repository's processes hold after so many requests, and whether it grows with them."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from process_memory import PROCESSES, served_processes

SHARED_MEMORY = Path("/dev/shm")
LATER = 0.25  # of all requests: by then everything has grown as large as it needs to be
STEADY = 200  # bytes that a process may grow by with each request: 1 GB in five million, six days at ten a second
NOISE = 3e6  # bytes in all that say nothing: allocators keep some of what was freed, now more, now less
ENOUGH = 1000  # requests to judge memory by: over fewer it is still becoming what it will be
FEW = 3  # threads or open files more: gRPC takes one when it likes, and lets go of a connection late


@dataclass(frozen=True)
class Reading:
    """After so many requests: bytes, threads and open files of each process, bytes and files of shared memory."""

    requests: int
    rss: dict[str, int]
    threads: dict[str, int]
    open_files: dict[str, int]
    shared_memory: int
    shared_files: int


def read(requests: int, launchers: Iterable[int]) -> Reading:
    """Of the server below the processes `launchers`. Raises DemoError if one of its processes is missing."""
    by_name = {name: Path("/proc") / str(pid) for pid, name in served_processes(launchers).items()}
    processes = {name: by_name[name] for name in PROCESSES}
    files = [path for pid in launchers for path in SHARED_MEMORY.glob(f"alpamayo_serve_{pid}_*")]
    page = os.sysconf("SC_PAGE_SIZE")
    return Reading(
        requests,
        rss={name: int((it / "statm").read_text().split()[1]) * page for name, it in processes.items()},
        threads={name: len(list((it / "task").iterdir())) for name, it in processes.items()},
        open_files={name: len(list((it / "fd").iterdir())) for name, it in processes.items()},
        shared_memory=sum(path.stat().st_size for path in files),
        shared_files=len(files),
    )


def later(readings: Sequence[Reading]) -> list[Reading]:
    """Those that are judged."""
    return [it for it in readings if it.requests >= LATER * readings[-1].requests]


def is_enough(judged: Sequence[Reading]) -> bool:
    """Whether memory can be judged by these readings."""
    return judged[-1].requests - judged[0].requests > ENOUGH


def rss_slope(readings: Sequence[Reading], name: str) -> float:
    """Bytes that a process grows by with each request: of the slopes between any two later readings, the median.

    A reading that is off for once counts for nothing, where least squares would follow it.
    """
    pairs = combinations(later(readings), 2)
    return float(np.median([(b.rss[name] - a.rss[name]) / (b.requests - a.requests) for a, b in pairs]))


def grown_in(readings: Sequence[Reading]) -> list[str]:
    """A line for everything that grows: memory, after ENOUGH requests, steadily and by more than STEADY and NOISE; the
    rest from the first third of the later readings to the last, threads and open files by more than FEW.
    """
    judged = later(readings)
    span = judged[-1].requests - judged[0].requests
    third = len(judged) // 3 or 1
    lines = []

    def compare(what: str, values: Sequence[int], allowed: int = 0) -> None:
        was, now = max(values[:third]), min(values[-third:])
        if now > was + allowed:
            lines.append(f"{what}: {was}, then {now}")

    for name in readings[-1].rss:
        slope = rss_slope(readings, name)
        if is_enough(judged) and slope > STEADY and slope * span > NOISE:
            lines.append(f"bytes of {name}: {slope:.0f} more with each request, {slope * span / 1e6:.1f} MB in all")
        compare(f"threads of {name}", [it.threads[name] for it in judged], FEW)
        compare(f"open files of {name}", [it.open_files[name] for it in judged], FEW)
    compare("bytes of shared memory", [it.shared_memory for it in judged])
    compare("files of shared memory", [it.shared_files for it in judged])
    return lines
