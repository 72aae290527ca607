"""Memory of a served repository's processes, read again and again while something runs: on the GPU as NVML has it, and
without a GPU in the host's memory.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pynvml
import torch
from alpamayo_demo.errors import DemoError
from alpamayo_export.repository import CANCEL, DENOISER, REASONER, UNICYCLE
from alpamayo_serve.children import children

SERVER = "tritonserver"
PROCESSES = (SERVER, REASONER, DENOISER, UNICYCLE, CANCEL)
STUB = "triton_python_backend_stub"
INTERVAL_S = 0.02  # between two readings

_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Reading:
    """At one moment.

    Attributes:
        processes: bytes by a process's name; a model's instances together; empty where they cannot be told.
        whole_gpu: bytes used on the GPU by whomever; without a GPU None.
    """

    processes: Mapping[str, int]
    whole_gpu: int | None = None


Read = Callable[[Mapping[int, str]], Reading]  # of processes, by their ids


@dataclass
class Peaks:
    """The most, in bytes, of all readings so far.

    Attributes:
        processes: by a process's name, each at its own moment.
        total: of all processes together, at one moment.
        whole_gpu: as in Reading.
    """

    processes: dict[str, int] = field(default_factory=dict)
    total: int = 0
    whole_gpu: int | None = None

    def add(self, reading: Reading) -> None:
        """Counts one more reading."""
        for name, used in reading.processes.items():
            self.processes[name] = max(used, self.processes.get(name, 0))
        self.total = max(self.total, sum(reading.processes.values()))
        if reading.whole_gpu is not None:
            self.whole_gpu = max(reading.whole_gpu, self.whole_gpu or 0)


def served_processes(launchers: Iterable[int]) -> dict[int, str]:
    """tritonserver and each model's stub below the processes `launchers`: their names, of PROCESSES, by their ids.

    Raises DemoError if one is missing.
    """
    found: dict[int, str] = {}
    below = list(launchers)
    while below:
        below = [pid for parent in below for pid in children(parent)]
        found |= {pid: name for pid in below if (name := _name(_command_line(pid)))}
    if missing := [name for name in PROCESSES if name not in found.values()]:
        raise DemoError(
            f"found processes of {sorted(found.values())}, wanted {', '.join(missing)} too: is this a repository that "
            "alpamayo-export wrote, and is its server still running?"
        )
    return found


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # gone meanwhile
        return []


def _name(command_line: list[str]) -> str | None:
    program, *arguments = command_line or [""]
    if Path(program).name == SERVER:
        return SERVER
    if Path(program).name == STUB and arguments:
        return Path(arguments[0]).parts[-3]  # .../MODEL/1/model.py
    return None


@contextmanager
def memory_reader(gpu: bool) -> Iterator[Read]:
    """How memory is read in the block: on the first GPU that CUDA shows, or the host's. Raises DemoError."""
    if not gpu:
        yield read_host
        return
    with nvml_errors():
        pynvml.nvmlInit()
        try:
            # CUDA_VISIBLE_DEVICES renumbers for CUDA, not for NVML: the name is what both agree on.
            device = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
            yield lambda names: read_gpu(device, names)
        finally:
            pynvml.nvmlShutdown()


@contextmanager
def nvml_errors() -> Iterator[None]:
    """Raises what NVML raises in the block as DemoError."""
    try:
        yield
    except pynvml.NVMLError as error:
        raise DemoError(f"NVML, which tells the GPU's memory: {error}; see that nvidia-smi works here") from error


def read_gpu(device: Any, names: Mapping[int, str]) -> Reading:
    """What NVML says of a device (its handle). Raises DemoError."""
    with nvml_errors():
        whole = pynvml.nvmlDeviceGetMemoryInfo(device).used
        return Reading(by_name(pynvml.nvmlDeviceGetComputeRunningProcesses(device), names), int(whole))


def by_name(listed: Iterable[Any], names: Mapping[int, str]) -> dict[str, int]:
    """Bytes by process name, of NVML's list of a GPU's processes: those that hold none are not in it.

    Empty unless both networks' processes are listed with their memory: inside a container, NVML may count in the
    host's process ids, and one that is also ours would be somebody else.

    Args:
        listed: objects with `pid` and `usedGpuMemory`, bytes or None.
        names: the served processes, by their ids.
    """
    used: Counter[str] = Counter()
    for process in listed:
        if process.pid in names and process.usedGpuMemory is not None:
            used[names[process.pid]] += process.usedGpuMemory
    return dict(used) if {REASONER, DENOISER} <= set(used) else {}


def read_host(names: Mapping[int, str]) -> Reading:
    """Proportional set sizes: a page that n processes share counts as an n-th of it in each."""
    used: Counter[str] = Counter()
    for pid, name in names.items():
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):  # died: the request that it answered tells why
            continue
        used[name] += sum(1024 * int(size) for size in _PSS.findall(rollup))
    return Reading(dict(used))


@contextmanager
def watched(read: Callable[[], Reading]) -> Iterator[Peaks]:
    """Reads every INTERVAL_S while the block runs, and once after it; the peaks are whole when it has ended.

    What comes and goes between two readings is missed. torch keeps what it has taken from a GPU, so little does there.
    Raises whatever `read` raises, after the block.
    """
    peaks, ended = Peaks(), threading.Event()

    def keep_reading() -> None:
        last = False
        while not last:
            last = ended.wait(INTERVAL_S)
            peaks.add(read())

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(keep_reading)
        try:
            yield peaks
        finally:
            ended.set()
        reader.result()
