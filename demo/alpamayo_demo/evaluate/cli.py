"""How well a checkpoint drives the road, asked through the served ensemble: accuracy by situation, comfort, whether it
looks and whether it does what it thinks, beside two baselines that only know the ego history.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from alpamayo_demo.errors import check_between
from alpamayo_demo.measured_on import describe
from alpamayo_demo.report import Result, report
from alpamayo_demo.road.scenes import Split
from alpamayo_demo.served import CHECKPOINT, add_source, client_of, shown

from .cases import check_choice, make_cases
from .evaluation import evaluate
from .predictions import Sampling
from .table import table

SPLITS = {"held-out": Split.HELD_OUT, "hard": Split.HARD}


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input or a server that fails, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(argv)
    command = shlex.join(["python", "-m", "alpamayo_demo.evaluate", *argv])
    return report("alpamayo_demo.evaluate", lambda: measure(arguments, command), table, arguments.output)


def measure(arguments: argparse.Namespace, command: str) -> Result:
    """Raises one of EXPECTED."""
    check_choice(arguments.scenes_per_situation, arguments.first_seed)
    sampling = Sampling(samples=arguments.samples, seed=arguments.seed)
    machine = describe()
    with client_of(arguments.source, arguments.url) as client:
        about = client.metadata()
        check_between("--samples", sampling.samples, 1, about["limits"]["max_trajectories"])
        cases = make_cases(SPLITS[arguments.split], arguments.scenes_per_situation, arguments.first_seed)
        return {
            "benchmark": "driving",
            "command": command,
            "machine": machine,
            "settings": {
                "source": arguments.url or shown(arguments.source or CHECKPOINT),
                "split": arguments.split,
                "scenes": len(cases),
                "first_seed": arguments.first_seed,
                **asdict(sampling),
            },
            "served": about,
            **evaluate(client, cases, sampling),
        }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alpamayo_demo.evaluate", description=__doc__)
    add_source(parser)
    parser.add_argument("--scenes-per-situation", type=int, default=12, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--first-seed", type=int, default=0, metavar="N", help="of the scenes; another, other scenes (%(default)s)"
    )
    parser.add_argument("--split", choices=SPLITS, default="held-out", help="default: %(default)s")
    parser.add_argument(
        "--samples", type=int, default=Sampling.samples, metavar="K", help="thoughts a scene (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=Sampling.seed, help="of what is sampled, not of the scenes (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    return parser
