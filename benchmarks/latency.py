"""`make bench`: what a request takes through the served ensemble, for one trajectory and for several, and beside it
what the plain way takes (`baseline.py`), in turns in one run on one machine.

The scene is the 16-frame golden one, greedy, so that all of them generate the same nine tokens.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alpamayo_client import AlpamayoClient
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_export.export import Options, export, open_checkpoint
from alpamayo_export.limits import Limits
from alpamayo_serve.serving import serving
from baseline import Baseline
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "model_repository"), str(ROOT / "model_repository" / "alpamayo_reasoner" / "1")]
from reasoner.images import preprocess  # noqa: E402  # a stage's module: where it lies has to be said first

GOLDEN = ROOT / "tests" / "golden"
SAMPLES = (1, 6)
REASONER = "alpamayo_reasoner"
MAX_GENERATION_LENGTH, INFERENCE_STEPS = 24, 10
PERCENTILES = (50, 90, 95, 99)

Timings = dict[str, list[float]]


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--rounds", type=int, default=20, help="timed requests of each kind (default: %(default)s)")
    cli.add_argument("--output", type=Path, help="write the result, as JSON, to this file")
    args = cli.parse_args()
    result = measure(args.rounds)
    print(table(result))
    if args.output:
        args.output.write_text(json.dumps(result, indent=2) + "\n")


def measure(rounds: int) -> dict[str, Any]:
    """Seconds for every kind of call, each made `rounds` times in turns, after one round that is not counted."""
    machine = describe()
    checkpoint = open_checkpoint(str(GOLDEN / "checkpoint"))
    vectors = load_file(GOLDEN / "greedy" / "vectors.safetensors")
    baseline = Baseline(checkpoint)
    timings: dict[str, Timings] = {}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        export(checkpoint, repository, Options("fp32", "onnxruntime", Limits()))
        with (
            serving(repository, Path(folder) / "log") as endpoints,
            AlpamayoClient(f"{endpoints.address}:{endpoints.grpc_port}") as client,
        ):
            for i in tqdm(range(rounds + 1), desc="rounds"):
                for k in SAMPLES:
                    served, plain = time_served(client, vectors, k), time_baseline(baseline, vectors, k)
                    for kind, seconds in ((f"served_k{k}", served), (f"baseline_k{k}", plain)) if i else ():
                        for stage, value in seconds.items():
                            timings.setdefault(kind, {}).setdefault(stage, []).append(value)
    return {
        "benchmark": "latency",
        "command": f"python benchmarks/latency.py --rounds {rounds}",
        "machine": machine,
        "settings": {
            "checkpoint": "tests/golden/checkpoint",
            "scene": "tests/golden/greedy",
            "precision": "fp32",
            "max_generation_length": MAX_GENERATION_LENGTH,
            "inference_steps": INFERENCE_STEPS,
        },
        "seconds": {kind: {stage: summary(s) for stage, s in stages.items()} for kind, stages in timings.items()},
        "ratios_of_p50": ratios(timings),
    }


def time_served(client: AlpamayoClient, vectors: dict[str, Tensor], samples: int) -> dict[str, float]:
    """Seconds of one request, in total and by model."""
    before, start = client.stage_times(), time.perf_counter()
    client.predict(
        vectors["frames"].numpy(),
        vectors["ego_history_xyz"].numpy(),
        vectors["ego_history_rot"].numpy(),
        num_traj_samples=samples,
        top_k=1,
        max_generation_length=MAX_GENERATION_LENGTH,
        inference_steps=INFERENCE_STEPS,
        seed=0,
    )
    total = time.perf_counter() - start
    stages = client.stage_times(since=before)
    return {"total": total} | {name: stage.compute_s for name, stage in stages.items()}


def time_baseline(baseline: Baseline, vectors: dict[str, Tensor], samples: int) -> dict[str, float]:
    """Seconds of the same work in this process, from frames to normalised actions."""
    config = baseline.checkpoint.config
    start = time.perf_counter()
    images = list(vectors["frames"].flatten(0, 1))
    pixel_values, image_grid_thw = preprocess(images, config.min_pixels, config.max_pixels)
    noise = torch.randn(samples, 64, 2)
    baseline(vectors["prompt_ids"], pixel_values, image_grid_thw, noise, MAX_GENERATION_LENGTH, INFERENCE_STEPS)
    return {"total": time.perf_counter() - start}


def summary(seconds: list[float]) -> dict[str, float]:
    percentiles = {f"p{p}": float(np.percentile(seconds, p)) for p in PERCENTILES}
    return {"min": min(seconds), **percentiles, "max": max(seconds)}


def ratios(timings: dict[str, Timings]) -> dict[str, float]:
    def p50(kind: str, stage: str = "total") -> float:
        return float(np.median(timings[kind][stage]))

    return {
        "speedup_over_baseline_k1": p50("baseline_k1") / p50("served_k1"),
        "speedup_over_baseline_k6": p50("baseline_k6") / p50("served_k6"),
        "reasoner_k6_over_k1": p50("served_k6", REASONER) / p50("served_k1", REASONER),
        "served_k6_over_k1": p50("served_k6") / p50("served_k1"),
        "baseline_k6_over_k1": p50("baseline_k6") / p50("baseline_k1"),
    }


def table(result: dict[str, Any]) -> str:
    """The README's table: medians in milliseconds."""
    rows = ["| p50, ms | K = 1 | K = 6 | K = 6 / K = 1 |", "|---|---|---|---|"]
    for label, kind, stage in (
        ("whole request, over gRPC", "served", "total"),
        ("- reasoner", "served", REASONER),
        ("- denoiser", "served", "alpamayo_denoiser"),
        ("- unicycle", "served", "alpamayo_unicycle"),
        ("plain transformers, in process", "baseline", "total"),
    ):
        one, six = (result["seconds"][f"{kind}_k{k}"][stage]["p50"] for k in SAMPLES)
        rows.append(f"| {label} | {1e3 * one:.0f} | {1e3 * six:.0f} | {six / one:.2f} |")
    return "\n".join([*rows, "", provenance(result)])


if __name__ == "__main__":
    main()
