"""How much memory `alpamayo-export` needs, step by step: for a checkpoint of the released shapes in a single file, the
worst case, since the released one comes in files of 5 GB.

What counts is private memory: pages of a file that is only read are given back by the kernel when others need room.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from alpamayo_demo.errors import DemoError, check_between
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_export.checkpoint_files import Weights
from alpamayo_export.progress import PREFIX
from alpamayo_export.random_checkpoint import write_random_checkpoint
from alpamayo_export.shards import save_tensors

PRECISIONS = ("bf16", "fp32")
LAYERS = 14  # 10 GB
INTERVAL_S = 0.02
START = "start"

_ANONYMOUS = re.compile(r"^Anonymous:\s+(\d+) kB$", re.MULTILINE)


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input or an export that fails, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("source", nargs="?", type=Path, help="a checkpoint; else one is made, for as long as it takes")
    cli.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="default: both")
    cli.add_argument("--layers", type=int, default=LAYERS, help="of the one that is made (default: %(default)s)")
    cli.add_argument(
        "--work", type=Path, metavar="DIR", help="where three times its size fits (the system's temporary)"
    )
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    command = shlex.join(["python", "benchmarks/export_memory.py", *argv])

    def measured() -> Result:
        with tempfile.TemporaryDirectory(prefix="alpamayo-export-memory-", dir=args.work) as work:
            source = args.source or single_file(Path(work), args.layers)
            return measure(source, args.precision, Path(work), command)

    return report("export_memory.py", measured, table, args.output)


def single_file(work: Path, layers: int) -> Path:
    """A checkpoint of the released shapes with random weights, all in one file."""
    check_between("--layers", layers, 1)
    drawn, single = work / "drawn", work / "checkpoint"
    write_random_checkpoint(drawn, "released", layers)
    weights = Weights.find(drawn)
    shutil.copytree(drawn, single, ignore=shutil.ignore_patterns("*.safetensors*"))
    save_tensors(weights.read(weights.shard_of), single / "model.safetensors")
    shutil.rmtree(drawn)
    return single


def measure(source: Path, precisions: Sequence[str], work: Path, command: str) -> Result:
    """Peaks of an export in each precision. Raises one of EXPECTED."""
    machine = describe()
    sizes = Weights.find(source).sizes()
    files = [path.stat().st_size for path in source.glob("*.safetensors")]
    peaks = {precision: peaks_of_export(source, work / "repository", precision) for precision in precisions}
    return {
        "benchmark": "export_memory",
        "command": command,
        "machine": machine,
        "settings": {"interval_s": INTERVAL_S},
        "checkpoint": {
            "bytes": sum(files),
            "files": len(files),
            "largest_file": max(files),
            "denoiser_bytes": sum(size for name, size in sizes.items() if name.startswith(("expert.", "action_"))),
        },
        "peaks": peaks,
    }


def peaks_of_export(source: Path, repository: Path, precision: str) -> dict[str, int]:
    """Of `alpamayo-export`, the most bytes of private memory in each of its steps, in their order.

    A step is what it says on stderr that it begins. Raises DemoError if it fails.
    """
    script = Path(sys.executable).with_name("alpamayo-export")
    command: list[str | Path] = [
        script,
        source,
        "--output",
        repository,
        "--precision",
        precision,
        "--denoiser",
        "onnxruntime",
        "--no-verify",  # which holds a whole reasoner
    ]
    peaks: dict[str, int] = {}
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as export,
        last_step(export, source) as said,
    ):
        while export.poll() is None:
            step = said[-1]
            peaks[step] = max(peaks.get(step, 0), private_bytes(export.pid))
            time.sleep(INTERVAL_S)
    if export.returncode:
        raise DemoError(f"alpamayo-export failed: {said[-1]}")
    shutil.rmtree(repository)
    return peaks


@contextmanager
def last_step(export: subprocess.Popen[str], source: Path) -> Iterator[list[str]]:
    """The steps so far, filled while the block runs; whole after it."""
    said = [START]

    def listen() -> None:
        assert export.stderr is not None
        for line in export.stderr:  # a progress bar's, too
            if line.startswith(PREFIX):
                said.append(line.removeprefix(PREFIX).strip().replace(str(source), "the checkpoint"))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield said
    finally:
        listener.join()


def private_bytes(pid: int) -> int:
    """Memory of a process that belongs to no file; 0 if it has ended."""
    try:
        return 1024 * int(_ANONYMOUS.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())[0])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


def table(result: Result) -> str:
    """Megabytes by step and precision."""
    peaks, checkpoint = result["peaks"], result["checkpoint"]
    rows = [["private memory at most, MB", *peaks]]
    for step in next(iter(peaks.values())):
        rows.append([step, *(f"{used[step] / 1e6:,.0f}" if step in used else "-" for used in peaks.values())])
    note = (
        f"A checkpoint of {checkpoint['bytes'] / 1e9:.1f} GB, its largest file "
        f"{checkpoint['largest_file'] / 1e9:.1f} GB, the denoiser's part {checkpoint['denoiser_bytes'] / 1e9:.1f} GB."
    )
    return "\n\n".join([markdown(rows), note, provenance(result)])


if __name__ == "__main__":
    sys.exit(main())
