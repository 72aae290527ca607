"""What the served ensemble does under load: NVIDIA's perf_analyzer keeps 1, 2, 4, 8 requests in flight over gRPC.

All of them ask about the 16-frame golden scene, greedy, so that every thought has the same nine tokens. A concurrency
at which a request fails, or that does not settle, has no numbers, but a line on why; the exit status is then 1.

`make perf-analyzer` fetches perf_analyzer. It runs on the server's machine, and shares its cores.
"""

import argparse
import base64
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import perf_analyzer
from alpamayo_client.request import Request, build_request
from alpamayo_client.server_info import ENSEMBLE
from alpamayo_demo.errors import DemoError, check_between
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_demo.served import ROOT, served, shown
from numpy.typing import NDArray
from safetensors.torch import load_file
from tqdm import tqdm

GOLDEN = ROOT / "tests" / "golden"
SCENE = GOLDEN / "greedy"
PARAMETERS = {"top_k": 1, "max_generation_length": 24, "inference_steps": 10, "seed": 0}
MODELS = ("alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle")
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
PERCENTILES = ("p50", "p90", "p95", "p99")
INPUT_FILE = "scene.json"

_MODEL = re.compile(
    r"(\w+), version: .*\n(?: +.* count: \d+\n)+ +Avg request latency: \d+ usec \(overhead \d+ usec \+ queue (\d+) usec"
    r" \+ compute input (\d+) usec \+ compute infer (\d+) usec \+ compute output (\d+) usec\)"
)


@dataclass(frozen=True)
class Stopping:
    """When perf_analyzer has seen enough: three windows, one after the other, that agree."""

    requests: int = 50
    """In each window, at least."""
    stability_percent: int = 10
    """How far apart the three may be, in throughput and in mean latency."""
    max_trials: int = 10
    """Windows until it gives up."""


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input, or a concurrency without numbers, with lines on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    usual = Stopping()
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("source", nargs="?", type=Path, default=GOLDEN / "checkpoint", help="checkpoint or repository")
    cli.add_argument(
        "--concurrency", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N", help="requests in flight (1 2 4 8)"
    )
    cli.add_argument(
        "--samples", type=int, default=6, metavar="K", help="trajectories a request (default: %(default)s)"
    )
    cli.add_argument(
        "--requests", type=int, default=usual.requests, metavar="N", help="in a window, at least (default: %(default)s)"
    )
    cli.add_argument(
        "--stability", type=int, default=usual.stability_percent, metavar="PERCENT",
        help="how far apart three windows may be (default: %(default)s)",
    )  # fmt: skip
    cli.add_argument(
        "--max-trials", type=int, default=usual.max_trials, metavar="N", help="windows at most (default: %(default)s)"
    )
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    stopping = Stopping(args.requests, args.stability, args.max_trials)
    failures: list[str] = []

    def measured() -> Result:
        command = shlex.join(["python", "benchmarks/load.py", *argv])
        result = measure(args.source, args.concurrency, args.samples, stopping, command)
        failures.extend(failures_of(result))
        return result

    status = report("load.py", measured, table, args.output)
    for failure in failures:
        print(f"load.py: {failure}", file=sys.stderr)
    return status or int(bool(failures))


def measure(source: Path, concurrencies: Sequence[int], samples: int, stopping: Stopping, command: str) -> Result:
    """What perf_analyzer says of each concurrency, in turn. Raises one of EXPECTED."""
    for concurrency in concurrencies:
        check_between("--concurrency", concurrency, 1)
    check_between("--requests", stopping.requests, 1)
    check_between("--stability", stopping.stability_percent, 1)
    check_between("--max-trials", stopping.max_trials, 3)  # a result is of three windows
    perf_analyzer.check()
    machine, request = describe(), scene_request(samples)
    with tempfile.TemporaryDirectory(prefix="alpamayo-load-") as folder, served(source) as client:
        about = client.metadata()
        (Path(folder) / INPUT_FILE).write_text(json.dumps(input_data(request.inputs)))
        measured = {}
        for concurrency in tqdm(dict.fromkeys(concurrencies), desc="concurrencies"):
            flags = arguments(client.url, request.parameters, stopping, str(concurrency))
            done = perf_analyzer.run(*flags, cwd=Path(folder))
            measured[str(concurrency)] = failure(done.stderr) if done.returncode else parse(done.stdout)
    shown_flags = arguments("HOST:PORT", request.parameters, stopping, "N")
    return {
        "benchmark": "load",
        "command": command,
        "machine": machine,
        "settings": {
            "checkpoint": shown(source),
            "scene": shown(SCENE),
            "frames": list(request.inputs["image_frames"].shape),
            "K": samples,
            "parameters": dict(request.parameters),
            "stopping": asdict(stopping),
            "perf_analyzer": {"version": perf_analyzer.VERSION, "command": shlex.join(["perf_analyzer", *shown_flags])},
        },
        "served": about,
        "concurrency": measured,
    }


def scene_request(samples: int) -> Request:
    """The golden scene, as the client would send it."""
    vectors = load_file(SCENE / "vectors.safetensors")
    frames, xyz, rot = (vectors[name].numpy() for name in ("frames", "ego_history_xyz", "ego_history_rot"))
    return build_request(frames, xyz, rot, {"num_traj_samples": samples} | PARAMETERS)


def input_data(inputs: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """perf_analyzer's `--input-data`: one request, every tensor (of numbers) with its shape and its bytes."""
    return {
        "data": [
            {
                name: {"content": {"b64": base64.b64encode(array.tobytes()).decode()}, "shape": list(array.shape)}
                for name, array in inputs.items()
            }
        ]
    }


def arguments(url: str, parameters: Mapping[str, int | float], stopping: Stopping, concurrency: str) -> list[str]:
    """perf_analyzer's, in a folder that has `INPUT_FILE`; parameters are whole numbers.

    Windows count requests: those of a time would hold few where a request takes seconds. (Its `--request-count`, one
    window, ends with idle workers, for up to a second, and counts that as time.)
    """
    return [
        *("-m", ENSEMBLE, "-i", "grpc", "-u", url, "--input-data", INPUT_FILE),
        *(word for name, it in parameters.items() for word in ("--request-parameter", f"{name}:{it}:int")),
        *("--concurrency-range", concurrency, "--warmup-request-count", concurrency),
        *("--measurement-mode", "count_windows", "--measurement-request-count", str(stopping.requests)),
        *("--stability-percentage", str(stopping.stability_percent), "--max-trials", str(stopping.max_trials)),
    ]


def parse(printed: str) -> Result:
    """What perf_analyzer prints of one concurrency (its CSV leaves the models out).

    Returns:
        `requests` in the three windows; `throughput_per_s`; `latency_s`: the client's, mean, std and percentiles;
        `models_mean_s`: for each model, means of its queue and of its computing's parts; none failed.

    Raises:
        DemoError: that is not what the version that is pinned prints.
    """
    of_client, _, of_models = printed.partition("Composing models:")

    def number(pattern: str) -> float:
        if not (match := re.search(pattern, of_client)):
            raise DemoError(f"perf_analyzer printed nothing like {pattern!r}, but:\n{printed}")
        return float(match[1])

    latency = {p: number(rf"{p} latency: (\d+) usec") for p in PERCENTILES}
    latency |= {"mean": number(r"Avg latency: (\d+) usec"), "std": number(r"standard deviation (\d+) usec")}
    models = {name: dict(zip(PARTS, map(_seconds, parts), strict=True)) for name, *parts in _MODEL.findall(of_models)}
    if set(models) != set(MODELS):
        raise DemoError(f"perf_analyzer printed times of {sorted(models)}, wanted {sorted(MODELS)}:\n{printed}")
    return {
        "requests": int(number(r"Request count: (\d+)")),
        "failed_requests": 0,  # it stops at the first
        "error": None,
        "throughput_per_s": number(r"Throughput: (\S+) infer/sec"),
        "latency_s": {key: _seconds(us) for key, us in latency.items()},
        "models_mean_s": {name: models[name] for name in MODELS},
    }


def failure(complaint: str) -> Result:
    """A concurrency that perf_analyzer gave up, by what it wrote to stderr.

    A worker stops at its first failed request, and the others with it: `failed_requests` is of those that it names.
    """
    answers = re.findall(r"^Thread \[\d+\] had error: (.*)", complaint, re.MULTILINE)
    reason = "; ".join(dict.fromkeys(answers)) or " ".join(complaint.split())
    if "Failed to obtain stable measurement" in complaint:  # it names options of its own
        reason = "no three windows agreed; ask for more --requests, or allow a larger --stability"
    return {
        "requests": 0,
        "failed_requests": len(answers),
        "error": reason or "perf_analyzer failed without a word",
    }


def failures_of(result: Result) -> list[str]:
    """A line for each concurrency that has no numbers."""
    return [
        f"concurrency {concurrency} has no numbers; failed requests: {it['failed_requests']}; {it['error']}"
        for concurrency, it in result["concurrency"].items()
        if it["error"]
    ]


def table(result: Result) -> str:
    """One row for each concurrency; latencies are the client's, in milliseconds."""
    names = [name.removeprefix("alpamayo_") for name in MODELS]
    header = ["in flight", "requests/s", "failed", "mean, ms", *PERCENTILES]
    header += [f"{name}: queue + compute, ms" for name in names]
    rows = [[concurrency, *_cells(it, len(header) - 1)] for concurrency, it in result["concurrency"].items()]
    settings = result["settings"]
    note = f"K = {settings['K']}; {settings['checkpoint']}; perf_analyzer {settings['perf_analyzer']['version']}, "
    note += f"three windows of at least {settings['stopping']['requests']} requests."
    failures = [f"{line[0].upper()}{line[1:]}" for line in failures_of(result)]
    return "\n\n".join([markdown([header, *rows]), *failures, note, provenance(result)])


def _cells(it: Result, width: int) -> list[str]:
    if it["error"]:
        return ["-", str(it["failed_requests"])] + ["-"] * (width - 2)
    latencies = [f"{1e3 * it['latency_s'][key]:.0f}" for key in ("mean", *PERCENTILES)]
    models = [
        f"{1e3 * parts['queue']:.0f} + {1e3 * (sum(parts.values()) - parts['queue']):.0f}"
        for parts in it["models_mean_s"].values()
    ]
    return [f"{it['throughput_per_s']:.2f}", str(it["failed_requests"]), *latencies, *models]


def _seconds(microseconds: str | float) -> float:
    return float(microseconds) / 1e6


if __name__ == "__main__":
    sys.exit(main())
