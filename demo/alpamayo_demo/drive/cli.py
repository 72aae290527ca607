"""Drives long routes in closed loop: every half second a plan is asked for, and its first half second driven."""

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alpamayo_demo.errors import check_between
from alpamayo_demo.measured_on import describe
from alpamayo_demo.report import Result, report
from alpamayo_demo.road.ego import DT_S
from alpamayo_demo.road.routes import route
from alpamayo_demo.served import CHECKPOINT, add_source, client_of, shown

from . import planners
from .loop import Planner, drive
from .rules import judge, line
from .table import summary

MAX_SECONDS = 600.0


def main(argv: Sequence[str] | None = None) -> int:
    """0: driven, well or badly; 1: a checkpoint, server or file that fails, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parsed(argv)
    command = shlex.join(["python", "-m", "alpamayo_demo.drive", *argv])
    return report("alpamayo_demo.drive", lambda: measure(arguments, command), summary, arguments.output)


def measure(arguments: argparse.Namespace, command: str) -> Result:
    """Raises one of EXPECTED."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    about: Result = {"benchmark": "closed_loop", "command": command, "machine": describe()}
    about["settings"] = {"planner": arguments.planner, "seconds": arguments.seconds}
    if arguments.planner == "driver":
        return about | {"routes": drive_routes(planners.driver, seeds, arguments.seconds)}
    with client_of(arguments.source, arguments.url) as client:
        about["settings"]["source"] = arguments.url or shown(arguments.source or CHECKPOINT)
        about["served"] = client.metadata()
        most = about["served"]["limits"]["max_trajectories"]
        check_between("trajectories of a plan (the repository's limit is too low)", planners.DRAWN, 1, most)
        return about | {"routes": drive_routes(planners.model(client), seeds, arguments.seconds)}


def drive_routes(planner: Planner, seeds: Iterable[int], seconds: float) -> list[dict[str, Any]]:
    """The outcome of every route; a line of each is printed."""
    routes = []
    for seed in seeds:
        ticks, own = (drive(*route(seed), it, seconds) for it in (planner, planners.driver))
        outcome = judge(ticks, own)
        print(f"route {seed:2}: {line(outcome)}", flush=True)
        routes.append({"seed": seed, **asdict(outcome)})
    return routes


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m alpamayo_demo.drive", description=__doc__)
    add_source(parser)
    parser.add_argument("--planner", choices=("model", "driver"), default="model", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how many routes (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="of the first (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of each route, in steps of 0.1 s (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 1:
        parser.error(f"--seeds: got {arguments.seeds}, wanted at least 1")
    if arguments.first_seed < 0:
        parser.error(f"--first-seed: got {arguments.first_seed}, wanted at least 0")
    if not 0.1 <= arguments.seconds <= MAX_SECONDS:
        parser.error(f"--seconds: got {arguments.seconds:g}, wanted 0.1 .. {MAX_SECONDS:g}")
    arguments.seconds = round(round(arguments.seconds / DT_S) * DT_S, 1)  # as it is driven
    if arguments.planner == "driver" and (arguments.source or arguments.url is not None):
        parser.error("the scripted driver asks no model: give no source and no --url with it")
    return arguments
