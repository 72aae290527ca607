"""How a setting of the request changes driving: Euler steps, samples (K), temperature, thinking or not, precision.

Everything is asked through the served ensemble, about the same held-out scenes with the same seeds; the settings in
turns, but for the rows in torch, which have servers of their own.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from alpamayo_client import AlpamayoClient, AlpamayoError
from alpamayo_demo.errors import check_between
from alpamayo_demo.evaluate.cases import Case, check_choice, make_cases
from alpamayo_demo.evaluate.predictions import Sampling, ask
from alpamayo_demo.evaluate.scores import Scores, accuracy, comfort_of, mean, reasoning
from alpamayo_demo.evaluate.table import accuracy_cells
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_demo.road.scenes import Split
from alpamayo_demo.served import CHECKPOINT, is_repository, served, shown
from alpamayo_serve.errors import LaunchError
from tqdm import tqdm

USUAL = Sampling()


@dataclass(frozen=True)
class Sweep:
    """Values of one field of a Sampling; its other fields are those of `others`."""

    label: str
    field: str
    values: tuple[Any, ...]
    others: Sampling = USUAL

    @property
    def samplings(self) -> dict[str, Sampling]:
        """By the value, in words."""
        return {str(value): replace(self.others, **{self.field: value}) for value in self.values}


SWEEPS = {
    "inference_steps": Sweep("Euler steps", "inference_steps", (2, 3, 5, 10)),
    "samples": Sweep("K", "samples", (1, 3, 6, 12)),
    "temperature": Sweep("temperature", "temperature", (0.0, 0.6, 1.0)),
    "thinks": Sweep("thinks", "thinks", (True, False)),
    "thinks, alone": Sweep("K 1, thinks", "thinks", (True, False), replace(USUAL, samples=1)),
}
PRECISION = "precision"


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input or a server that fails, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("source", nargs="?", type=Path, default=CHECKPOINT, help="checkpoint or repository")
    cli.add_argument("--scenes-per-situation", type=int, default=6, metavar="N", help="default: %(default)s")
    cli.add_argument(
        "--first-seed", type=int, default=0, metavar="N", help="of the scenes; another, other scenes (%(default)s)"
    )
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    command = shlex.join(["python", "benchmarks/accuracy.py", *argv])

    def measured() -> Result:
        return measure(args.source, args.scenes_per_situation, args.first_seed, command)

    return report("accuracy.py", measured, table, args.output)


def measure(source: Path, per_situation: int, first_seed: int, command: str) -> Result:
    """A row of scores for every value of every setting. Raises one of EXPECTED."""
    check_choice(per_situation, first_seed)
    machine, not_run = describe(), {}
    with served(source, "fp32", "onnxruntime") as client:
        about = client.metadata()
        most = about["limits"]["max_trajectories"]
        check_between("samples (the repository's limit is too low)", USUAL.samples, 1, most)
        swept = (it for sweep in SWEEPS.values() for it in sweep.samplings.values())
        wanted = list(dict.fromkeys(it for it in swept if it.samples <= most))
        cases = make_cases(Split.HELD_OUT, per_situation, first_seed)
        scored = dict(zip(wanted, drive(client, cases, wanted), strict=True))
    rows = {
        setting: {value: scored[it] for value, it in sweep.samplings.items() if it in scored}
        for setting, sweep in SWEEPS.items()
    }
    if beyond := [value for value, it in SWEEPS["samples"].samplings.items() if it not in scored]:
        not_run[f"K {', '.join(beyond)}"] = f"the repository takes {most} trajectories at most"
    rows[PRECISION] = {f"{about['precision']} ({about['denoiser']})": scored[USUAL]}
    if is_repository(source):
        not_run["fp32 against bf16"] = "an exported repository has its precision already; give the checkpoint"
    else:
        for precision in ("fp32", "bf16"):
            try:
                with served(source, precision, "torch") as client:
                    (rows[PRECISION][f"{precision} (torch)"],) = drive(client, cases, [USUAL])
            except (AlpamayoError, LaunchError) as error:  # what was measured before is worth having
                not_run[f"{precision} (torch)"] = str(error)
    return {
        "benchmark": "accuracy",
        "command": command,
        "machine": machine,
        "settings": {
            "source": shown(source),
            "split": "held-out",
            "scenes": len(cases),
            "first_seed": first_seed,
            "usual": asdict(USUAL),
        },
        "served": about,
        "rows": rows,
        "not_run": not_run,
    }


def drive(client: AlpamayoClient, cases: list[Case], samplings: list[Sampling]) -> list[Scores]:
    """Means over the cases, one for each of `samplings`; `seconds` is the median of a request."""
    scored: list[list[Scores]] = [[] for _ in samplings]
    for index, case in enumerate(tqdm(cases, desc="driving", unit="scene")):
        for sampling, scores in zip(samplings, scored, strict=True):
            start = time.perf_counter()
            answer = ask(client, case.scene, sampling, index)
            seconds = time.perf_counter() - start
            scores.append(
                accuracy(answer.pred_xyz, case.scene.ego_future_xyz)
                | reasoning(answer.cot, answer.reasoning_complete, case.situation)
                | {"max_jerk_mps3": comfort_of([(answer.pred_xyz, answer.action)])["mean"]["max_jerk_mps3"]}
                | {"seconds": seconds}
            )
    return [mean(scores) | {"seconds": float(np.median([it["seconds"] for it in scores]))} for scores in scored]


def table(result: Result) -> str:
    """One row for each value of each setting, all others as usual."""
    header = ["", "minADE@1, m", "minADE@K, m", "ADE of mean, m", "minFDE@K, m", "miss rate@K"]
    header += ["right thought", "thought complete", "mean largest jerk, m/s3", "p50 of a request, ms"]
    labels = {setting: sweep.label for setting, sweep in SWEEPS.items()} | {PRECISION: "precision"}
    rows = [
        [f"{labels[setting]} {value}", *accuracy_cells(it), f"{it['max_jerk_mps3']:.1f}", f"{1e3 * it['seconds']:.0f}"]
        for setting, values in result["rows"].items()
        for value, it in values.items()
    ]
    usual = result["settings"]["usual"]
    unless = ", ".join(f"{it.label} {usual[it.field]}" for it in SWEEPS.values() if it.others == USUAL)
    seeds = f"{result['settings']['scenes']} held-out scenes, seeds from {result['settings']['first_seed']}"
    notes = [f"Where a row does not say otherwise: {unless}. {seeds}."]
    notes += [f"{name}: not run: {reason}." for name, reason in result["not_run"].items()]
    return "\n\n".join([markdown([header, *rows]), *notes, provenance(result)])


if __name__ == "__main__":
    sys.exit(main())
