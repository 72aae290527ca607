"""`make bench`: what a request takes through the served ensemble, over gRPC, and beside it what the plain way takes
(`baseline.py`), in turns in one run on one machine.

The base cases ask for one trajectory and for six, 10 Euler steps, frames as raw pixels. Every other case changes one
thing: more thoughts, 32 sets of one thought, shorter thoughts, 5 steps, frames as JPEG files or in CUDA shared memory.

The golden checkpoint is shown the 16-frame golden scene, and thinks nine tokens (24 at most). Another one is shown 16
made-up frames of 1920 x 1080, and thinks 40 tokens (20 in the cases that say so): random weights never stop, but for a
checkpoint that does, that is a limit. How many it were is part of the result. Everything is greedy.
"""

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import alpamayo_model_repository.on_path  # noqa: F401  # for the stages' modules
import numpy as np
import torch
from alpamayo_client import AlpamayoClient, AlpamayoError
from alpamayo_demo.errors import DemoError, check_between
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_demo.served import is_repository, served, shown
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits
from alpamayo_export.settings import PRECISIONS
from baseline import Baseline, Driven
from latency_cases import NAMES, Ask, Case, all_cases, asking, thoughts, why_not
from reasoner.images import preprocess
from reasoner.prompt import PromptTokenizer
from reasoner.settings import ReasonerSettings
from scenes import GOLDEN, Scene, golden_scene, made_up_scene
from tqdm import tqdm

MODELS = {"reasoner": "alpamayo_reasoner", "denoiser": "alpamayo_denoiser", "unicycle": "alpamayo_unicycle"}
BASES = ("k1", "k6")  # what the baseline does, too
PERCENTILES = (50, 90, 95, 99)
GOLDEN_TOKENS, USUAL_TOKENS = 24, 40
WARM_UP_CALLS = 3  # on a GPU a size is seen, recorded, and replayed

Seconds = dict[str, float]  # of one call: in total, and by model
Call = Callable[[], Seconds]


@dataclass(frozen=True)
class Stopping:
    """When enough was measured: what comes first, but never before one round."""

    rounds: int = 20
    seconds: float = float("inf")


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input, or a case that fails, with lines on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("source", nargs="?", type=Path, default=GOLDEN / "checkpoint", help="checkpoint or repository")
    cli.add_argument(
        "--rounds",
        type=int,
        default=Stopping.rounds,
        metavar="N",
        help="timed calls of each kind (default: %(default)s)",
    )
    cli.add_argument(
        "--seconds", type=float, default=Stopping.seconds, metavar="S", help="begin no round after that many (no limit)"
    )
    cli.add_argument("--cases", nargs="+", choices=NAMES, default=NAMES, metavar="CASE", help=", ".join(NAMES))
    cli.add_argument("--no-baseline", dest="baseline", action="store_false", help="the served ensemble alone")
    cli.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="for the baseline, where source is the repository exported from it",
    )
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    failed: dict[str, str] = {}

    def measured() -> Result:
        result = measure(
            args.source,
            args.checkpoint,
            list(dict.fromkeys(args.cases)),
            Stopping(args.rounds, args.seconds),
            args.baseline,
            shlex.join(["python", "benchmarks/latency.py", *argv]),
        )
        failed.update(result["failed"])
        return result

    status = report("latency.py", measured, table, args.output)
    for name, reason in failed.items():
        print(f"latency.py: {name} failed: {reason}", file=sys.stderr)
    return status or int(bool(failed))


def measure(
    source: Path, checkpoint: Path | None, names: Sequence[str], stopping: Stopping, baseline: bool, command: str
) -> Result:
    """Seconds of every kind of call.

    Each is called once before, uncounted. A kind that cannot be is then in `not_run`, one that fails in `failed`, with
    the reason. Raises one of EXPECTED.
    """
    check_between("--rounds", stopping.rounds, 1)
    golden = source.resolve() == (GOLDEN / "checkpoint").resolve()
    scene = golden_scene() if golden else made_up_scene()
    cases = all_cases(GOLDEN_TOKENS if golden else USUAL_TOKENS)
    found = Found({name: cases[name] for name in names})
    machine = describe()
    with ExitStack() as stack:
        repository = stack.enter_context(exported(source))
        client = stack.enter_context(served(repository))
        about = client.metadata()
        ready_served(found, stack, client, scene, about["limits"])
        checkpoint = checkpoint if is_repository(source) else source
        why_no_baseline = None if baseline else "--no-baseline"
        if baseline and checkpoint is None:
            why_no_baseline = "a repository holds no weights for it; name its checkpoint: --checkpoint DIR"
        if checkpoint is None or why_no_baseline:
            found.not_run |= {f"baseline_{name}": str(why_no_baseline) for name in found.bases()}
        else:
            ready_plain(found, checkpoint, repository, scene, PRECISIONS[about["precision"]])
        timings = in_turns(found.calls, stopping)
    return {
        "benchmark": "latency",
        "command": command,
        "machine": machine,
        "settings": {
            "checkpoint": shown(source),
            "scene": scene.name,
            "frames": list(scene.frames.shape),
            "precision": about["precision"],
            "rounds": max(map(len, timings.values()), default=0),
            "cases": {name: asdict(case) for name, case in found.cases.items()},
        },
        "served": about,
        "thoughts": found.thoughts,
        "seconds": {name: parts_of(rounds) for name, rounds in timings.items()},
        **comparisons(timings),
        "not_run": found.not_run,
        "failed": found.failed,
    }


@dataclass
class Found:
    """What can be measured here, and what cannot."""

    cases: dict[str, Case]
    calls: dict[str, Call] = field(default_factory=dict)
    """Every kind that is measured: a case by its name, the baseline as `baseline_` with the case's."""
    thoughts: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    """`tokens` and `complete` of every kind: K of each."""
    not_run: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def bases(self) -> list[str]:
        """The cases that the baseline is compared in."""
        return [name for name in BASES if name in self.calls]


@contextmanager
def exported(source: Path) -> Iterator[Path]:
    """The repository of `source`, a checkpoint or a repository, for the block. Raises ExportError."""
    if is_repository(source):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="alpamayo-latency-") as folder:
        repository = Path(folder) / "repository"
        export(open_checkpoint(str(source)), repository, Options("auto", "auto", Limits()))
        yield repository


def ready_served(
    found: Found, stack: ExitStack, client: AlpamayoClient, scene: Scene, limits: Mapping[str, int]
) -> None:
    """Asks every case once, and so that its thoughts are known."""
    for name, case in found.cases.items():
        if reason := why_not(case, limits):
            found.not_run[name] = reason
            continue
        try:
            ask = stack.enter_context(asking(client, scene, case))
            found.thoughts[name] = thoughts(client.url, scene, case)
            ask()
        except DemoError as error:
            found.not_run[name] = str(error)
        except AlpamayoError as error:  # the other cases are worth having
            found.failed[name] = str(error)
        else:
            found.calls[name] = partial(time_served, client, ask)


def ready_plain(found: Found, checkpoint: Path, repository: Path, scene: Scene, dtype: torch.dtype) -> None:
    """Loads the baseline, and calls it once with every base case: as many tokens as the served thoughts have."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = ReasonerSettings.load(repository / MODELS["reasoner"] / "1")
    tokenizer = PromptTokenizer(repository / MODELS["reasoner"] / "1" / "tokenizer.json", settings)
    try:
        baseline = Baseline(open_checkpoint(str(checkpoint)), device, dtype)
    except torch.OutOfMemoryError as error:
        found.failed |= {f"baseline_{name}": str(error) for name in found.bases()}
        return

    def drive(case: Case, tokens: int, endless: bool) -> Driven:
        cameras = (torch.from_numpy(camera).to(device) for camera in scene.frames)
        pixel_values, grid = preprocess(cameras, settings.min_pixels, settings.max_pixels)
        prompt = tokenizer.prompt(grid, torch.from_numpy(scene.ego_history_xyz))
        noise = torch.randn(case.samples, 64, 2, generator=torch.Generator().manual_seed(0))
        return baseline(prompt, pixel_values, grid, noise, tokens, case.steps, endless)

    for name in found.bases():
        case, served_thoughts = found.cases[name], found.thoughts[name]
        endless = not all(served_thoughts["complete"])
        tokens = max(served_thoughts["tokens"]) if endless else case.tokens
        try:
            driven = drive(case, tokens, endless)
        except RuntimeError as error:  # no memory, or no kernel: what is served is worth having all the same
            found.failed[f"baseline_{name}"] = f"{type(error).__name__}: {error}"
            continue
        found.thoughts[f"baseline_{name}"] = {"tokens": driven.tokens, "complete": [not endless] * case.samples}
        found.calls[f"baseline_{name}"] = partial(time_plain, partial(drive, case, tokens, endless))


def in_turns(calls: Mapping[str, Call], stopping: Stopping) -> dict[str, list[Seconds]]:
    """Every call's seconds: case after case, as a driving stack asks the same again and again; with its baseline in
    turns. Each case has an equal share of the time that is left, and is called a few times before, uncounted.
    """
    timings: dict[str, list[Seconds]] = {name: [] for name in calls}
    cases = [name for name in calls if not name.startswith("baseline_")]
    end = time.monotonic() + stopping.seconds
    with tqdm(total=len(cases) * stopping.rounds, desc="rounds") as progress:
        for i, case in enumerate(cases):
            until = time.monotonic() + (end - time.monotonic()) / (len(cases) - i)
            turns = [name for name in (case, f"baseline_{case}") if name in calls]
            for _ in range(WARM_UP_CALLS):
                calls[case]()
            for done in range(stopping.rounds):
                if not done or time.monotonic() < until:
                    for name in turns:
                        timings[name].append(calls[name]())
                progress.update()
    return timings


def time_served(client: AlpamayoClient, ask: Ask) -> Seconds:
    """Of one request, in total and computing in each model."""
    before, start = client.stage_times(), time.perf_counter()
    ask()
    total = time.perf_counter() - start
    stages = client.stage_times(since=before)
    return {"total": total} | {name: stage.compute_s for name, stage in stages.items()}


def time_plain(drive: Callable[[], Driven]) -> Seconds:
    """Of the same work in this process, from frames to normalised actions."""
    start = time.perf_counter()
    drive()
    return {"total": time.perf_counter() - start}


def parts_of(rounds: Sequence[Seconds]) -> dict[str, dict[str, float]]:
    """Percentiles of a call's total, and of each model's part."""
    return {part: summary([it[part] for it in rounds]) for part in rounds[0]}


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles."""
    percentiles = {f"p{p}": float(np.percentile(seconds, p)) for p in PERCENTILES}
    return {"min": min(seconds), **percentiles, "max": max(seconds)}


def comparisons(timings: Mapping[str, Sequence[Seconds]]) -> dict[str, dict[str, float]]:
    """`speedup_over_baseline` (p50 over p50), `p99_over_p50`, and what of a request passes `outside_models_s` (p50).

    That can be below zero: a model still tidies up while the next one works.
    """
    total = {name: [it["total"] for it in rounds] for name, rounds in timings.items()}
    p50, p99 = ({name: float(np.percentile(it, p)) for name, it in total.items()} for p in (50, 99))
    outside = {
        name: float(np.median([it["total"] - sum(it[model] for model in MODELS.values()) for it in rounds]))
        for name, rounds in timings.items()
        if not name.startswith("baseline_")
    }
    pairs = {name: f"baseline_{name}" for name in BASES}
    return {
        "speedup_over_baseline": {
            name: p50[plain] / p50[name] for name, plain in pairs.items() if name in p50 and plain in p50
        },
        "p99_over_p50": {name: p99[name] / p50[name] for name in BASES if name in p50},
        "outside_models_s": outside,
    }


def table(result: Result) -> str:
    """The README's table, medians in milliseconds; and, where there are other cases, one with a row for each."""
    seconds = result["seconds"]
    parts = [_of_bases(seconds)] if all(name in seconds for name in BASES) else []
    if any(name.removeprefix("baseline_") not in BASES for name in seconds) or not parts:
        parts.append(_of_cases(result))
    missing = result.get("not_run", {}) | result.get("failed", {})
    parts += [f"{name}: not measured: {' '.join(reason.split())}." for name, reason in missing.items()]
    return "\n\n".join([*parts, provenance(result)])


def _of_bases(seconds: Mapping[str, Any]) -> str:
    rows = [["p50, ms", "K = 1", "K = 6", "K = 6 / K = 1"]]
    for label, prefix, part in (
        ("whole request, over gRPC", "", "total"),
        *((f"- {label}", "", model) for label, model in MODELS.items()),
        ("plain transformers, in process", "baseline_", "total"),
    ):
        if all(prefix + name in seconds for name in BASES):
            one, six = (seconds[prefix + name][part]["p50"] for name in BASES)
            rows.append([label, f"{1e3 * one:.0f}", f"{1e3 * six:.0f}", f"{six / one:.2f}"])
    return markdown(rows)


def _of_cases(result: Result) -> str:
    wanted = ("p50", "p90", "p95", "p99")
    header = ["K x sets", "tokens", "Euler steps", "frames", *(f"{p}, ms" for p in wanted)]
    header += [f"{label}, p50, ms" for label in (*MODELS, "outside the models")]
    rows = [header]
    for name, case in result["settings"]["cases"].items():
        if name in result["seconds"]:
            seconds = result["seconds"][name]
            generated = result["thoughts"][name]["tokens"]
            tokens = " .. ".join(map(str, sorted({min(generated), max(generated)})))
            times = [seconds["total"][p] for p in wanted] + [seconds[model]["p50"] for model in MODELS.values()]
            times.append(result["outside_models_s"][name])
            rows.append([f"{case['samples']} x {case['sets']}", f"{tokens} of {case['tokens']}", str(case["steps"])])
            rows[-1] += [case["frames"], *(str(round(1e3 * it)) for it in times)]
    return markdown(rows)


if __name__ == "__main__":
    sys.exit(main())
