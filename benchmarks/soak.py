"""Whether a server stays as it is over many requests: memory, threads and open files of its processes, shared memory.

One request follows the other. Of ten, seven are to be answered (one of them with six trajectories, two as JPEG files),
two are wrong, and one runs out of time. Every answer must be the one that the same request got at first, bit for bit.
"""

import argparse
import itertools
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from alpamayo_client import AlpamayoClient, InvalidRequestError, Prediction, TimedOutError
from alpamayo_demo.errors import DemoError, check_between
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_demo.served import CHECKPOINT, shown
from alpamayo_serve.children import children
from alpamayo_serve.serving import serving
from memory import repository_of
from process_memory import served_processes
from scenes import Scene, as_jpeg, golden_scene
from tqdm import tqdm

SHARED_MEMORY = Path("/dev/shm")
LATER = 0.25  # of all requests: by then everything has grown as large as it needs to be
GROWTH = 0.03  # of a process's memory from there on: allocators are not still
GROWTH_BYTES = 16e6  # likewise, of small ones
SEED = 1
LITTLE_TIME_S = 0.005


@dataclass(frozen=True)
class Reading:
    """After so many requests: bytes, threads and open files of each process, bytes and files of shared memory."""

    requests: int
    rss: dict[str, int]
    threads: dict[str, int]
    open_files: dict[str, int]
    shared_memory: int
    shared_files: int


def main(argv: Sequence[str] | None = None) -> int:
    """0: flat; 1: something grows, or bad input or a server that fails, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("source", nargs="?", type=Path, default=CHECKPOINT, help="checkpoint or repository")
    cli.add_argument("--requests", type=int, default=10_000, metavar="N", help="in all (default: %(default)s)")
    cli.add_argument("--readings", type=int, default=40, metavar="N", help="spread over them (default: %(default)s)")
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    grown: list[str] = []

    def measured() -> Result:
        result = measure(args.source, args.requests, args.readings, shlex.join(["python", "benchmarks/soak.py", *argv]))
        grown.extend(result["grown"])
        return result

    status = report("soak.py", measured, table, args.output)
    for line in grown:
        print(f"soak.py: {line}", file=sys.stderr)
    return status or int(bool(grown))


def measure(source: Path, requests: int, readings: int, command: str) -> Result:
    """Raises one of EXPECTED; DemoError also for an answer that is not the one of the first time."""
    check_between("--readings", readings, 4)
    check_between("--requests", requests, 10 * readings)
    machine, others = describe(), children(os.getpid())
    with (
        tempfile.TemporaryDirectory(prefix="alpamayo-soak-") as folder,
        repository_of(source) as repository,
        serving(repository, Path(folder) / "log") as endpoints,
        AlpamayoClient(f"{endpoints.address}:{endpoints.grpc_port}") as client,
    ):
        about = client.metadata()
        launchers = children(os.getpid()) - others
        start = time.monotonic()
        found = list(ask(client, golden_scene(), requests, readings, lambda n: read(n, launchers)))
        seconds = time.monotonic() - start
    return {
        "benchmark": "soak",
        "command": command,
        "machine": machine,
        "settings": {"checkpoint": shown(source), "requests": requests, "seconds": seconds},
        "served": about,
        "readings": [asdict(it) for it in found],
        "grown": grown_in(found),
    }


def ask(
    client: AlpamayoClient, scene: Scene, requests: int, readings: int, read: Callable[[int], Reading]
) -> Iterable[Reading]:
    """Asks them all, and reads after every `requests / readings` of them."""
    history = scene.ego_history_xyz, scene.ego_history_rot
    files = as_jpeg(scene.frames)

    def answered(frames: Any, **options: Any) -> Prediction:
        return client.predict(frames, *history, seed=SEED, max_generation_length=16, inference_steps=4, **options)

    def refused() -> None:
        try:
            answered(scene.frames, top_p=2.0)
        except InvalidRequestError:
            return
        raise DemoError("a request with top_p 2 was answered")

    def out_of_time() -> None:
        try:
            answered(scene.frames, timeout_s=LITTLE_TIME_S)
        except TimedOutError:
            return
        raise DemoError(f"a request with a timeout_s of {LITTLE_TIME_S} was answered")

    usual, encoded = partial(answered, scene.frames), partial(answered, files)
    many = partial(answered, scene.frames, num_traj_samples=6)
    kinds = (usual, refused, encoded, usual, out_of_time, many, usual, refused, encoded, usual)
    first: dict[Any, Prediction] = {}
    for n, kind in enumerate(tqdm(itertools.islice(itertools.cycle(kinds), requests), total=requests, desc="soak"), 1):
        answer = kind()
        if answer is not None and not same(answer, first.setdefault(kind, answer)):
            raise DemoError(f"request {n} got another answer than the same request before")
        if n % (requests // readings) == 0:
            yield read(n)


def same(a: Prediction, b: Prediction) -> bool:
    """Bit for bit."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("pred_xyz", "pred_rot", "cot", "action"))


def read(requests: int, launchers: Iterable[int]) -> Reading:
    """Of the server below the processes `launchers`. Raises DemoError if one of its processes is missing."""
    processes = {name: Path("/proc") / str(pid) for pid, name in served_processes(launchers).items()}
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


def grown_in(readings: Sequence[Reading]) -> list[str]:
    """A line for everything that is larger in the last quarter than it has been after the first one."""
    later = [it for it in readings if it.requests >= LATER * readings[-1].requests]
    before, after = later[: len(later) // 3 or 1], later[-(len(later) // 3 or 1) :]
    lines = []

    def compare(what: str, was: Sequence[float], now: Sequence[float], allowed: float = 0) -> None:
        if min(now) > max(was) + allowed:
            lines.append(f"{what}: {max(was):.0f}, then {min(now):.0f}")

    for name in readings[-1].rss:
        was = [it.rss[name] for it in before]
        compare(f"bytes of {name}", was, [it.rss[name] for it in after], max(GROWTH * max(was), GROWTH_BYTES))
        compare(f"threads of {name}", [it.threads[name] for it in before], [it.threads[name] for it in after])
        compare(f"open files of {name}", [it.open_files[name] for it in before], [it.open_files[name] for it in after])
    compare("bytes of shared memory", [it.shared_memory for it in before], [it.shared_memory for it in after])
    compare("files of shared memory", [it.shared_files for it in before], [it.shared_files for it in after])
    return lines


def rss_slope(readings: Sequence[dict[str, Any]], name: str) -> float:
    """Bytes that a process grows by with each request, by least squares from LATER on."""
    later = [it for it in readings if it["requests"] >= LATER * readings[-1]["requests"]]
    slope, _ = np.polyfit([it["requests"] for it in later], [it["rss"][name] for it in later], 1)
    return float(slope)


def table(result: Result) -> str:
    """Each process at a quarter, a half and the end."""
    readings = result["readings"]
    shown_at = [readings[max(0, round(len(readings) * part) - 1)] for part in (LATER, 0.5, 1.0)]
    rows = [["", *(f"after {it['requests']} requests" for it in shown_at)]]
    for name in readings[-1]["rss"]:
        cells = [f"{it['rss'][name] / 1e6:.0f} MB, {it['threads'][name]}, {it['open_files'][name]}" for it in shown_at]
        rows.append([name, *cells])
    rows.append(["/dev/shm", *(f"{it['shared_memory'] / 1e6:.1f} MB in {it['shared_files']}" for it in shown_at)])
    settings = result["settings"]
    verdict = "Nothing grows." if not result["grown"] else f"What grows: {'; '.join(result['grown'])}."
    growth = ", ".join(f"{name} {rss_slope(readings, name):.0f}" for name in readings[-1]["rss"])
    verdict += f" Bytes that memory grows by with each request, fitted from {shown_at[0]['requests']} on: {growth}."
    note = (
        f"Resident memory, threads, open files. {settings['checkpoint']}, {settings['seconds'] / 60:.0f} min. {verdict}"
    )
    return "\n\n".join([markdown(rows), note, provenance(result)])


if __name__ == "__main__":
    sys.exit(main())
