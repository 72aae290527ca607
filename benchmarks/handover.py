"""What it takes to hand the KV cache from one Python model to the next in a real tritonserver: on the GPU, and through
host memory; and what Triton does where its GPU memory pool is too small for it. Without a GPU: through host memory.

The tensor has the released size. The time begins when the producer gives its response away, and ends when the tensor
lies on the consumer's device: through host memory, the copy back to the GPU counts.
"""

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from alpamayo_client import AlpamayoError
from alpamayo_client.errors import triton_errors
from alpamayo_demo.errors import DemoError, check_between
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_export.limits import KvCache, tritonserver_flags
from alpamayo_export.repository import EVERY_MODEL, FLAGS, MANIFEST, edited_config, write_json
from alpamayo_serve.errors import LaunchError
from alpamayo_serve.serving import serving
from latency import summary
from tqdm import tqdm
from tritonclient.grpc import InferenceServerClient, InferInput, model_config_pb2

MODELS = Path(__file__).with_name("handover_models")
STAGES = PRODUCER, CONSUMER = "producer", "consumer"
ENSEMBLE = "handover"
LIBRARY = Path(__file__).resolve().parents[1] / "model_repository"
SHARED = (*EVERY_MODEL, "kv_checksum.py")

LAYERS, KV_HEADS, HEAD_DIM = 36, 8, 128  # of the released model
TOKENS = 3328  # about what 16 images and six thoughts make
WARM_UP_ROUNDS = 3
STARVED_ROUNDS = 5
GIVE_UP_S = 120.0

LABELS = {"gpu": "stays on the GPU", "host": "through host memory", "starved": "pool too small"}
TIMED = {"gpu": "cuda", "host": "cpu"}  # and where the tensor has to come, for the time to mean what its name says


@dataclass(frozen=True)
class Arrival:
    """Of one tensor at the consumer."""

    seconds: float  # since it was handed over
    where: str  # cpu or cuda
    intact: bool


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input or a server that fails, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--tokens", type=int, default=TOKENS, metavar="T", help="of the KV cache (default: %(default)s)")
    cli.add_argument("--rounds", type=int, default=30, metavar="N", help="timed requests of each kind (%(default)s)")
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    command = shlex.join(["python", "benchmarks/handover.py", *argv])
    return report("handover.py", lambda: measure(args.tokens, args.rounds, command), table, args.output)


def measure(tokens: int, rounds: int, command: str) -> Result:
    """Seconds of `rounds` hand-overs of each kind that this machine has. Raises one of EXPECTED."""
    check_between("--tokens", tokens, 1)
    check_between("--rounds", rounds, 1)
    machine = describe()
    kv = KvCache(LAYERS, KV_HEADS, HEAD_DIM, tokens, "bf16")
    arrivals: dict[str, list[Arrival]] = {}
    not_run: dict[str, str] = {}
    for kind in LABELS:
        if kind != "host" and machine["gpu"] is None:
            not_run[kind] = "there is no GPU here"
            continue
        try:
            arrivals[kind] = hand_over(kind, kv, machine["gpu"] is not None, rounds)
        except (AlpamayoError, DemoError, LaunchError) as error:  # the others are worth having
            not_run[kind] = str(error)
    seconds = {kind: summary([it.seconds for it in arrivals[kind]]) for kind in TIMED if kind in arrivals}
    if not seconds:
        raise DemoError("nothing could be timed: " + "; ".join(f"{LABELS[k]}: {why}" for k, why in not_run.items()))
    return {
        "benchmark": "handover",
        "command": command,
        "machine": machine,
        "settings": {
            "shape": [LAYERS, 2, KV_HEADS, tokens, HEAD_DIM],
            "precision": kv.precision,
            "bytes": kv.max_bytes,
            "rounds": rounds,
        },
        "seconds": seconds,
        "where": {kind: places(them) for kind, them in arrivals.items()},
        "damaged": {kind: sum(not it.intact for it in them) for kind, them in arrivals.items()},
        "host_over_gpu_p50": seconds["host"]["p50"] / seconds["gpu"]["p50"] if len(seconds) == 2 else None,
        "not_run": not_run,
    }


def hand_over(kind: str, kv: KvCache, gpu: bool, rounds: int) -> list[Arrival]:
    """A served hand-over, `rounds` times, after some that are not counted; of the starved kind a few, all counted.

    Raises:
        DemoError: of a timed kind, a tensor came damaged, or elsewhere than the kind says.
        AlpamayoError: a request failed.
        LaunchError: the server does not start.
    """
    skipped, wanted = (WARM_UP_ROUNDS, rounds) if kind in TIMED else (0, STARVED_ROUNDS)
    with tempfile.TemporaryDirectory(prefix="alpamayo-handover-") as folder:
        repository = Path(folder) / "repository"
        write_repository(repository, kind, kv, gpu)
        with serving(repository, Path(folder) / "log") as endpoints:
            url = f"{endpoints.address}:{endpoints.grpc_port}"
            with InferenceServerClient(url) as client, triton_errors(url, GIVE_UP_S):
                turns = tqdm(range(skipped + wanted), desc=LABELS[kind], unit="round")
                arrivals = [ask(client, turn) for turn in turns]
    if kind in TIMED:
        check_arrivals(kind, arrivals)
    return arrivals[skipped:]


def write_repository(folder: Path, kind: str, kv: KvCache, gpu: bool) -> None:
    """A complete repository of the two models and their ensemble, on the first GPU or on the CPU."""
    shutil.copytree(MODELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for model in STAGES:
        for module in SHARED:
            shutil.copy(LIBRARY / module, folder / model / "1" / module)
        with edited_config(folder, model) as config:
            if gpu:
                config.instance_group[0].kind = model_config_pb2.ModelInstanceGroup.KIND_GPU
                config.instance_group[0].gpus[:] = [0]
            if model == PRODUCER:
                config.output[0].dims[:] = [kv.layers, 2, kv.kv_heads, kv.max_tokens, kv.head_dim]
            elif kind == "host":
                config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "yes"
    starved = kind == "starved"
    flags = tritonserver_flags(0, kv.max_bytes, gpu and not starved)
    if starved:
        flags.append(f"--cuda-memory-pool-byte-size=0:{kv.max_bytes // 2}")
    (folder / FLAGS).write_text("\n".join(flags) + "\n")
    write_json(folder / MANIFEST, {})


def ask(client: InferenceServerClient, turn: int) -> Arrival:
    """One request to the ensemble. Raises InferenceServerException."""
    sent = InferInput("turn", [1], "INT64").set_data_from_numpy(np.array([turn]))
    answer = client.infer(ENSEMBLE, [sent], client_timeout=GIVE_UP_S)
    seconds, where, intact = (answer.as_numpy(name)[0] for name in ("seconds", "where", "intact"))
    return Arrival(float(seconds), where.decode(), bool(intact))


def check_arrivals(kind: str, arrivals: list[Arrival]) -> None:
    """Raises DemoError unless every tensor came whole, and where `kind` says."""
    if damaged := sum(not it.intact for it in arrivals):
        raise DemoError(f"{damaged} of {len(arrivals)} tensors came damaged, wanted none: such times say nothing")
    if places(arrivals) != TIMED[kind]:
        raise DemoError(
            f"tensors came to {places(arrivals)}, wanted all on {TIMED[kind]}: what does not fit into its memory "
            "pool, Triton puts into host memory; try fewer --tokens"
        )


def places(arrivals: list[Arrival]) -> str:
    """Where they came: cpu, cuda, or both."""
    return ", ".join(sorted({it.where for it in arrivals}))


def table(result: Result) -> str:
    """Milliseconds by kind, and where the tensor came."""
    rows = [["", "p50, ms", "p95, ms", "largest, ms", "came to", "damaged"]]
    for kind, where in result["where"].items():
        seconds = result["seconds"].get(kind)
        times = [f"{1e3 * seconds[it]:.2f}" for it in ("p50", "p95", "max")] if seconds else ["", "", ""]
        rows.append([LABELS[kind], *times, where, str(result["damaged"][kind])])
    settings = result["settings"]
    notes = [f"A KV cache of {settings['shape'][3]} tokens, {settings['bytes'] / 1e6:.0f} MB."]
    if ratio := result["host_over_gpu_p50"]:
        notes[0] += f" Through host memory it takes {ratio:.1f} times as long."
    notes += [f"{LABELS[kind]}: not run: {reason}." for kind, reason in result["not_run"].items()]
    return "\n\n".join([markdown(rows), *notes, provenance(result)])


if __name__ == "__main__":
    sys.exit(main())
