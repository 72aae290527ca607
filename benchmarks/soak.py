"""Whether a server stays as it is over many requests: memory, threads and open files of its processes, shared memory.

One request follows the other. Of ten, seven are to be answered (one of them with six trajectories, two as JPEG files),
one is wrong, one runs out of time, and one is cancelled. Every answer must be the one that the same request got at
first, bit for bit.
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from alpamayo_client import AlpamayoClient
from alpamayo_demo.errors import check_between
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_demo.served import CHECKPOINT, shown
from alpamayo_serve.children import children
from alpamayo_serve.serving import serving
from growth import ENOUGH, FEW, LATER, NOISE, STEADY, Reading, grown_in, is_enough, later, read, rss_slope
from memory import repository_of
from scenes import golden_scene
from soak_requests import ask
from tqdm import tqdm


def main(argv: Sequence[str] | None = None) -> int:
    """0: within bounds; 1: something grows, or bad input or a server that fails, with a line on stderr; 2: wrong
    usage.
    """
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
        grown.extend(grown_in(readings_of(result)))
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
    every = requests // readings
    with (
        tempfile.TemporaryDirectory(prefix="alpamayo-soak-") as folder,
        repository_of(source) as repository,
        serving(repository, Path(folder) / "log") as endpoints,
        AlpamayoClient(f"{endpoints.address}:{endpoints.grpc_port}") as client,
    ):
        about = client.metadata()
        launchers = children(os.getpid()) - others
        start = time.monotonic()
        asked = tqdm(ask(client, golden_scene(), requests), total=requests, desc="soak")
        found = [read(n, launchers) for n in asked if n % every == 0]
        seconds = time.monotonic() - start
    return {
        "benchmark": "soak",
        "command": command,
        "machine": machine,
        "settings": {"checkpoint": shown(source), "requests": requests, "seconds": seconds},
        "served": about,
        "readings": [asdict(it) for it in found],
    }


def readings_of(result: Result) -> list[Reading]:
    """As they were taken."""
    return [Reading(**it) for it in result["readings"]]


def table(result: Result) -> str:
    """Each process at a quarter, a half and the end."""
    readings = readings_of(result)
    shown_at = [readings[max(0, round(len(readings) * part) - 1)] for part in (LATER, 0.5, 1.0)]
    rows = [["", *(f"after {it.requests} requests" for it in shown_at), "bytes more with each request"]]
    for name in readings[-1].rss:
        cells = [f"{it.rss[name] / 1e6:.0f} MB, {it.threads[name]}, {it.open_files[name]}" for it in shown_at]
        rows.append([name, *cells, f"{rss_slope(readings, name):.0f}"])
    rows.append(["/dev/shm", *(f"{it.shared_memory / 1e6:.1f} MB in {it.shared_files}" for it in shown_at), ""])
    settings = result["settings"]
    note = (
        f"Resident memory, threads, open files. {settings['checkpoint']}, {settings['seconds'] / 60:.0f} min. "
        f"{verdict(readings)}"
    )
    return "\n\n".join([markdown(rows), note, provenance(result)])


def verdict(readings: Sequence[Reading]) -> str:
    """What was found, in words."""
    judged = later(readings)
    since = f"From {judged[0].requests} requests on"
    if grown := grown_in(readings):
        return f"{since} there grows: {'; '.join(grown)}."
    memory = (
        f"no process's memory grows steadily by more than {STEADY} bytes with each request and {NOISE / 1e6:.0f} MB in "
        "all"
        if is_enough(judged)
        else f"memory is not judged (that takes over {ENOUGH} requests)"
    )
    return f"{since}, {memory}; threads and open files (by more than {FEW}) and shared memory do not grow."


if __name__ == "__main__":
    sys.exit(main())
