"""Every benchmark in one go, with random weights of the released size: for a machine with a GPU and no network.

It wants a Python that has torch (a CUDA build) and transformers, and what `make wheels` fetched elsewhere. They go into
a virtual environment that also sees those two. A checkpoint is written and exported; where there is little room on disk
or in memory, its vision-language model is not: it is drawn on the GPU whenever it is loaded. Then every benchmark runs,
each within its own time: one that fails or takes too long does not stop the others. Checkpoint and repository stay in
the work folder, and are not made again: what there was no time for can follow with `--only`.

In the output folder come to be: a JSON file for each benchmark, `log.txt`, and `summary.json`.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = (ROOT / "client", ROOT, ROOT / "demo")  # installed as they lie here: the benchmarks read other files of the clone
MOST_TRAJECTORIES = 32  # of an export with the default limits
GRACE_S = 30.0  # for a benchmark that is told to stop, and its server
# Bytes on disk, in all: checkpoint and repository, and what a TensorRT engine is kept in; and the same without the
# vision-language model's weights.
DISK_BYTES = {"released": (52e9, 17e9), "small": (12e9, 4e9), "tiny": (2e9, 2e9)}
MEMORY_BYTES = {"released": 40e9, "small": 12e9, "tiny": 0}  # of the host: the weights on their way, twice in memory.py
MAKE_CHECKPOINT = {"released": ["released"], "small": ["released", "--layers", "4"], "tiny": ["tiny"]}
LENT = ("torch", "transformers", "pip")
LENT_IF_THERE = ("cuda-bindings", "cuda-pathfinder")  # for frames in CUDA shared memory
NO_TIME, DONE, KEPT = "no time was left", "done", "was there already"


class CannotRun(Exception):
    """The message says why, and what to do."""


@dataclass(frozen=True)
class Step:
    name: str
    command: list[str]
    limit_s: float
    makes: Path | None = None
    """A folder that comes to be whole or not at all; the step is left out where it is there."""
    needs: Path | None = None
    """What an earlier step makes."""


@dataclass(frozen=True)
class Outcome:
    name: str
    outcome: str
    """DONE, KEPT, NO_TIME, or what went wrong."""
    seconds: float

    @property
    def failed(self) -> bool:
        return self.outcome not in (DONE, KEPT)


def main(argv: Sequence[str] | None = None) -> int:
    """0: everything ran; 1: something failed, or there was no time for it; 2: wrong usage."""
    args = parser().parse_args(argv)
    end = time.monotonic() + 60 * args.minutes
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        args.work.mkdir(parents=True, exist_ok=True)
        work, output = args.work.resolve(), args.output.resolve()
        without_vlm = short_of_room(work, args.size)
        python = make_environment(work, args.wheels.resolve(), output / "log.txt")
        steps = benchmarks(python, work, output, args.size, args.rounds, args.seconds, without_vlm)
        outcomes = []
        for step in steps:
            if step.name in ("checkpoint", "repository", *(args.only or [it.name for it in steps])):
                outcomes.append(run(step, output / "log.txt", end))
                print(f"{step.name}: {outcomes[-1].outcome}, {outcomes[-1].seconds:.0f} s", flush=True)
    except (CannotRun, OSError) as error:
        print(f"on_a_gpu.py: {error}", file=sys.stderr)
        return 1
    (output / "summary.json").write_text(json.dumps([asdict(it) for it in outcomes], indent=2) + "\n")
    print(summary(outcomes))
    return int(any(it.failed for it in outcomes))


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("wheels", type=Path, metavar="WHEELS", help="the folder that `make wheels` filled")
    cli.add_argument("output", type=Path, metavar="OUTPUT", help="folder for the results")
    cli.add_argument(
        "--size",
        choices=tuple(DISK_BYTES),
        default="released",
        help="of the checkpoint; small: the released one with 4 layers, for a dry run; tiny: for one without a GPU",
    )
    cli.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, metavar="NAME", help=f"of the benchmarks: {', '.join(BENCHMARKS)}"
    )
    cli.add_argument("--minutes", type=float, default=10, help="for everything together (default: %(default)s)")
    cli.add_argument(
        "--rounds",
        type=int,
        default=20,
        metavar="N",
        help="of latency, stages, handover; load takes half (%(default)s)",
    )
    cli.add_argument(
        "--seconds", type=float, default=150, metavar="S", help="latency begins no round later (default: %(default)s)"
    )
    cli.add_argument(
        "--work", type=Path, default=ROOT / "out" / "gpu", metavar="DIR", help="for weights; default: out/gpu"
    )
    return cli


BENCHMARKS = ("latency", "stages", "handover", "load", "memory")


def benchmarks(
    python: Path, work: Path, output: Path, size: str, rounds: int, seconds: float, without_vlm: bool
) -> list[Step]:
    """Everything, in order: what matters most comes first."""
    checkpoint, repository = work / size / "checkpoint", work / size / "repository"
    tool = {name: str(python.with_name(f"alpamayo-{name}")) for name in ("make-checkpoint", "export")}

    def measured(name: str, limit_s: float, *arguments: str | Path) -> Step:
        words = [str(python), str(ROOT / "benchmarks" / f"{name}.py"), *map(str, arguments)]
        return Step(name, [*words, "--output", str(output / f"{name}.json")], limit_s, needs=repository)

    many = ("--rounds", str(rounds))
    left_out = ["--without-vlm"] if without_vlm else []
    return [
        Step(
            "checkpoint",
            [tool["make-checkpoint"], *MAKE_CHECKPOINT[size], *left_out, "--output", str(checkpoint)],
            180,
            checkpoint,
        ),
        Step("repository", [tool["export"], str(checkpoint), "--output", str(repository)], 240, repository, checkpoint),
        measured("latency", seconds + 150, repository, "--checkpoint", checkpoint, *many, "--seconds", str(seconds)),
        measured("stages", 150, repository, *many),
        measured("handover", 90, *many),
        measured("load", 180, repository, "--concurrency", "1", "2", "4", "--requests", str((rounds + 1) // 2)),
        # It starts a server for every K; where the most are asked for, it need not look for the most that fit.
        measured("memory", 180, repository, "--samples", "1", "6", str(MOST_TRAJECTORIES)),
    ]


def short_of_room(work: Path, size: str) -> bool:
    """Whether the vision-language model's weights are not to be written; said if so.

    Raises CannotRun: the rest does not fit either.
    """
    there = sum(path.stat().st_size for path in (work / size).rglob("*") if path.is_file())
    disk, memory = shutil.disk_usage(work).free + there, available_memory()
    whole, without_vlm = DISK_BYTES[size]
    if disk >= whole and memory >= MEMORY_BYTES[size]:
        return False
    found = f"{work} has {disk / 1e9:.1f} GB of disk for this, the host {memory / 1e9:.1f} GB of memory"
    if disk < without_vlm:
        raise CannotRun(
            f"{found}; wanted {without_vlm / 1e9:.0f} GB of disk at least for a checkpoint of the size {size} and what "
            "is exported from it; name another folder (--work), or a smaller size (--size small)"
        )
    print(
        f"{found}; for all weights wanted {whole / 1e9:.0f} and {MEMORY_BYTES[size] / 1e9:.0f} GB: those of the "
        "vision-language model will be drawn on the GPU",
        flush=True,
    )
    return True


def available_memory() -> int:
    """Bytes that the host can still give."""
    (line,) = (it for it in Path("/proc/meminfo").read_text().splitlines() if it.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def make_environment(work: Path, wheels: Path, log: Path) -> Path:
    """The Python of a virtual environment in which everything is installed; perf_analyzer is put where it belongs.

    Raises CannotRun: there are no wheels, or they do not fit this machine.
    """
    whole = joined(wheels, work / "wheels")
    if not whole:
        raise CannotRun(f"{wheels} holds no wheels; fill it with `make wheels` on a machine that has a network")
    folder = work / "venv"
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    call("make a virtual environment", [sys.executable, "-m", "venv", "--without-pip", str(folder)], log)
    (site,) = (folder / "lib").glob("python3.*/site-packages")
    beneath = work / "beneath" / "site-packages"
    lend(beneath)
    (site / "beneath.pth").write_text(f"{beneath}\n")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    call("install the wheels", [*pip, "--ignore-installed", *map(str, whole)], log)
    editable = [word for path in OWN for word in ("--editable", str(path))]
    call("install this project", [*pip, "--ignore-installed", "--no-build-isolation", *editable], log)
    # Before minutes of work: a GPU that torch does not see, a tritonserver without its libpython.
    check = "import pathlib, tempfile, torch, transformers, alpamayo_serve.server as server; print(torch.__version__, "
    check += "torch.cuda.is_available()); server.find_server(pathlib.Path(tempfile.mkdtemp()))"
    call("use what was installed", [str(python), "-c", check], log)
    if (carried := wheels / "perf-analyzer").is_dir():
        shutil.copytree(carried, ROOT / ".perf-analyzer", dirs_exist_ok=True)
        for file in (ROOT / ".perf-analyzer").iterdir():
            file.chmod(0o755)  # which not every copy keeps
    return python


def lend(folder: Path) -> None:
    """Links in `folder` to torch, transformers, and what they need, as this Python has them.

    Not --system-site-packages: those are another Python's where this one is of a virtual environment itself. And not
    all of them: transformers imports what else it finds, such as scikit-learn, and that may want another numpy.

    Raises CannotRun: they are not installed here.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in needed_by(LENT) | {name for name in LENT_IF_THERE if installed(name)}:
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            link = folder / top
            if not link.is_symlink():  # as nvidia/, which many share
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())


def needed_by(names: Sequence[str]) -> set[str]:
    """Those distributions, and all that they need here. Raises CannotRun: one of `names` is not installed."""
    if missing := [name for name in names if not installed(name)]:
        raise CannotRun(f"{sys.executable} has no {', '.join(missing)}: run this with a Python that has")
    from packaging.requirements import Requirement  # transformers brings it

    found: set[str] = set()
    todo = list(names)
    while todo:
        if (name := todo.pop()) not in found and installed(name):
            found.add(name)
            for needed in map(Requirement, importlib.metadata.requires(name) or []):
                if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                    todo.append(needed.name.lower())
    return found


def installed(name: str) -> bool:
    """In this Python, by its distribution's name."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def joined(wheels: Path, folder: Path) -> list[Path]:
    """All wheels, those that came in parts put together in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in sorted(wheels.glob("*.whl.part*")):
        with (folder / part.name.rpartition(".part")[0]).open("ab") as whole:
            whole.write(part.read_bytes())
    return sorted([*wheels.glob("*.whl"), *folder.glob("*.whl")])


def call(what: str, command: list[str], log: Path) -> None:
    """Raises CannotRun with what the command said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with log.open("a") as file:
        file.write(done.stdout)
    if done.returncode:
        raise CannotRun(f"cannot {what}:\n{done.stdout.strip()}")


def run(step: Step, log: Path, end: float) -> Outcome:
    """Runs a step, until it is done, its time is over, or `end` (monotonic) comes; its output goes to the log."""
    if step.makes is not None and step.makes.exists():
        return Outcome(step.name, KEPT, 0.0)
    if step.needs is not None and not step.needs.exists():
        return Outcome(step.name, f"{step.needs.name} is not there", 0.0)
    start = time.monotonic()
    limit_s = min(step.limit_s, end - start - GRACE_S)
    if limit_s <= 0:
        return Outcome(step.name, NO_TIME, 0.0)
    with log.open("ab") as file:
        file.write(f"\n===== {step.name}: {' '.join(step.command)}\n".encode())
        file.flush()
        # A session of its own, so that whatever it leaves behind can be ended.
        process = subprocess.Popen(step.command, stdout=file, stderr=file, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(limit_s)
            outcome = DONE if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            outcome = f"stopped after {limit_s:.0f} s"
            process.send_signal(signal.SIGINT)  # Ctrl-C: it ends its server
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                outcome += ", killed"
        finally:
            end_session(process)
    return Outcome(step.name, outcome, time.monotonic() - start)


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kills what the process has started and left, and itself."""
    with contextlib.suppress(ProcessLookupError):  # nobody is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def summary(outcomes: Sequence[Outcome]) -> str:
    """A line for each step, failures marked."""
    lines = [f"{'! ' if it.failed else '  '}{it.name:12}{it.seconds:6.0f} s  {it.outcome}" for it in outcomes]
    failed = sum(it.failed for it in outcomes)
    return "\n".join([*lines, f"{failed} of {len(outcomes)} failed; see log.txt" if failed else "everything ran"])


if __name__ == "__main__":
    sys.exit(main())
