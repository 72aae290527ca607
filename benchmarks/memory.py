"""How much GPU memory each process of a served repository takes at most, by K (`num_traj_samples`), with 16 frames of
1920 x 1080; and the largest K that fits this GPU. Without a GPU: the host's memory of each process.

Every K has a server of its own, since a process keeps what it once took. The KV cache has room for thoughts of full
length from the start, however long they become.
"""

import argparse
import functools
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from alpamayo_client import AlpamayoClient, ServerError
from alpamayo_demo.errors import check_between
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_demo.served import is_repository, shown
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits
from alpamayo_export.repository import MANIFEST
from alpamayo_serve.children import children
from alpamayo_serve.serving import serving
from process_memory import INTERVAL_S, PROCESSES, Peaks, Read, memory_reader, served_processes, watched
from tqdm import tqdm

CHECKPOINT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "checkpoint"
FRAMES = (4, 4, 3, 1080, 1920)  # cameras, frames of each, RGB, pixels
REQUESTS = 3
GIVE_UP_S = 600.0

MEMORY = {True: "GPU, as NVML has it", False: "host, proportional set size"}
UNTOLD = (
    "NVML does not list both networks' processes with their memory: a container needs docker run --pid=host, and what "
    "was exported for the CPU is not there"
)
NO_ROOM = re.compile(
    "out of memory|(can't|cannot|unable to|failed to) allocate|alloc_failed|bad_alloc"  # torch, CUDA, ONNX Runtime
    "|came through host memory|not what kv_checksum was taken of",  # a refused hand-over
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Attempt:
    """Of one K, on a server of its own.

    Attributes:
        peaks: while it was asked.
        before: bytes used on the whole GPU before the server was started, by whomever, maybe a CUDA context of this
            program; without a GPU None.
        no_room: why it does not fit; None: it does.
    """

    peaks: Peaks
    before: int | None
    no_room: str | None


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input or a server that fails, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("source", nargs="?", type=Path, default=CHECKPOINT, help="checkpoint or repository")
    cli.add_argument(
        "--samples", type=int, nargs="+", default=[1, 6], metavar="K", help="trajectories of a request (default: 1 6)"
    )
    cli.add_argument("--requests", type=int, default=REQUESTS, metavar="N", help="of each K (default: %(default)s)")
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    command = shlex.join(["python", "benchmarks/memory.py", *argv])

    def measured() -> Result:
        return measure(args.source, args.samples, args.requests, command)

    return report("memory.py", measured, table, args.output)


def measure(source: Path, samples: Sequence[int], requests: int, command: str) -> Result:
    """Peaks for every K of `samples`, and the largest K that fits. Raises one of EXPECTED."""
    check_between("--requests", requests, 1)
    for k in samples:
        check_between("--samples", k, 1)
    machine = describe()
    gpu = machine["gpu"] is not None
    with memory_reader(gpu) as read, repository_of(source) as repository:
        about = json.loads((repository / MANIFEST).read_text())
        limit = about["limits"]["max_trajectories"]
        for k in samples:
            check_between("--samples (the most is the repository's --max-trajectories)", k, 1, limit)

        @functools.cache
        def tried(k: int) -> Attempt:
            return attempt(repository, k, requests, read)

        found = outcome(tried, samples, limit)
    return {
        "benchmark": "memory",
        "command": command,
        "machine": machine,
        "settings": {
            "source": shown(source),
            "image_frames": FRAMES,
            "requests": requests,
            "interval_s": INTERVAL_S,
        },
        "served": about,
        "memory": MEMORY[gpu],
        **found,
    }


def outcome(tried: Callable[[int], Attempt], samples: Sequence[int], limit: int) -> Result:
    """What is found by trying: peaks for every K of `samples`, and the largest K, at most `limit`, that fits."""
    attempts = {str(k): tried(k) for k in samples}
    most = largest(lambda k: tried(k).no_room is None, max(samples), limit)
    stopped_by = f"the repository's --max-trajectories {limit}" if most == limit else tried(most + 1).no_room
    fitting = {k: it for k, it in attempts.items() if it.no_room is None}
    not_run = {f"K = {k}": f"it does not fit: {it.no_room}" for k, it in attempts.items() if it.no_room is not None}
    if any(not it.peaks.processes for it in fitting.values()):
        not_run["by process"] = UNTOLD
    return {
        "per_k": {k: it.peaks.processes for k, it in fitting.items()},
        "totals": {k: it.peaks.total for k, it in fitting.items() if it.peaks.processes},
        "whole_gpu": {
            k: {"before": it.before, "peak": it.peaks.whole_gpu} for k, it in fitting.items() if it.before is not None
        },
        "largest_k": {"k": most, "stopped_by": stopped_by},
        "not_run": not_run,
    }


@contextmanager
def repository_of(source: Path, limits: Limits | None = None) -> Iterator[Path]:
    """`source` if it is an exported repository; of a checkpoint its export with `limits`, for the block.

    Raises ExportError: there is no such checkpoint.
    """
    if is_repository(source):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="alpamayo-memory-") as folder:
        repository = Path(folder) / "repository"
        export(open_checkpoint(str(source)), repository, Options("auto", "auto", limits or Limits()))
        yield repository


def attempt(repository: Path, k: int, requests: int, read: Read) -> Attempt:
    """Serves `repository`, asks it for K trajectories a few times, and watches its processes meanwhile.

    Raises:
        LaunchError: the server does not start, or not stop.
        AlpamayoError: a request failed, and not for want of memory.
        DemoError: memory cannot be read.
    """
    before, others = read({}).whole_gpu, children(os.getpid())
    with (
        tempfile.TemporaryDirectory(prefix="alpamayo-memory-") as folder,
        serving(repository, Path(folder) / "log") as endpoints,
        AlpamayoClient(f"{endpoints.address}:{endpoints.grpc_port}") as client,
    ):
        names = served_processes(children(os.getpid()) - others)
        with watched(lambda: read(names)) as peaks:
            no_room = ask(client, k, requests)
    return Attempt(peaks, before, no_room)


def ask(client: AlpamayoClient, k: int, requests: int) -> str | None:
    """Asks `requests` times; returns the server's words as soon as it has no room for K trajectories, else None.

    Raises AlpamayoError: a request failed for another reason.
    """
    frames = np.random.default_rng(0).integers(0, 256, FRAMES, dtype=np.uint8)
    standing = np.zeros((16, 3)), np.tile(np.eye(3), (16, 1, 1))
    for seed in tqdm(range(requests), desc=f"K = {k}", unit="request"):
        try:
            client.predict(frames, *standing, num_traj_samples=k, seed=seed, timeout_s=GIVE_UP_S)
        except ServerError as error:
            if not NO_ROOM.search(str(error)):
                raise
            return str(error)
    return None


def largest(fits: Callable[[int], bool], first: int, limit: int) -> int:
    """The largest K in 1 .. limit that fits, 0 if none does: doubling from `first`, then bisection.

    Where it is below `limit`, the next one has been tried. `fits`: if a K does, every smaller one has to, too.
    """
    fitting, failing = 0, limit + 1
    k = min(first, limit)
    while failing - fitting > 1:
        if fits(k):
            fitting = k
        else:
            failing = k
        k = min(2 * k, limit) if failing > limit else (fitting + failing) // 2
    return fitting


def table(result: Result) -> str:
    """Megabytes by process and K, each process's peak at its own moment."""
    columns = list(result["per_k"])
    rows = [["peak, MB", *(f"K = {k}" for k in columns)]]

    def add(label: str, values: dict[str, int]) -> None:
        if values:
            rows.append([label, *(f"{values[k] / 1e6:,.0f}" if k in values else "" for k in columns)])

    for name in PROCESSES:
        add(name, {k: used[name] for k, used in result["per_k"].items() if name in used})
    add("**all of them at one moment**", result["totals"])
    whole = result["whole_gpu"]
    add("whole GPU", {k: used["peak"] for k, used in whole.items()})
    add("whole GPU, before it was served", {k: used["before"] for k, used in whole.items()})
    most = result["largest_k"]
    notes = [f"Memory: {result['memory']}. Largest K that fits: {most['k']}; stopped by: {most['stopped_by']}."]
    notes += [f"{name}: not run: {reason}." for name, reason in result["not_run"].items()]
    return "\n\n".join([markdown(rows), *notes, provenance(result)])


if __name__ == "__main__":
    sys.exit(main())
