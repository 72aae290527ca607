"""Drives long routes in closed loop: every half second a plan is asked for, and its first half second driven."""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alpamayo_demo.measured_on import describe
from alpamayo_demo.report import Result, report
from alpamayo_demo.road.routes import route
from alpamayo_demo.served import CHECKPOINT, running, served

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
    """The outcome of every route, and how far the scripted driver comes on it; a line of each is printed.

    Raises one of EXPECTED.
    """
    routes: list[dict[str, Any]] = []
    with _planner(arguments) as planner:
        for seed in range(arguments.seeds):
            outcome = judge(drive(*route(seed), planner, arguments.seconds))
            own = judge(drive(*route(seed), planners.driver, arguments.seconds))
            print(f"route {seed:2}: {line(outcome, own)}", flush=True)
            routes.append({"seed": seed, **asdict(outcome), "scripted_driver_m": own.driven_m})
    return {
        "benchmark": "closed_loop",
        "command": command,
        "machine": describe(),
        "settings": {"planner": arguments.planner, "seconds": arguments.seconds},
        "routes": routes,
    }


@contextmanager
def _planner(arguments: argparse.Namespace) -> Iterator[Planner]:
    if arguments.planner == "driver":
        yield planners.driver
    elif arguments.url:
        with running(arguments.url) as client:
            yield planners.model(client)
    else:
        with served(arguments.checkpoint or CHECKPOINT) as client:
            yield planners.model(client)


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m alpamayo_demo.drive", description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="exported and served (default: demo/checkpoint)")
    parser.add_argument("--url", metavar="HOST:PORT", help="gRPC endpoint of a running server, instead of a checkpoint")
    parser.add_argument("--planner", choices=("model", "driver"), default="model", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="routes 0 .. N - 1 (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each route (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 1:
        parser.error(f"--seeds: got {arguments.seeds}, wanted at least 1")
    if not 0.1 <= arguments.seconds <= MAX_SECONDS:
        parser.error(f"--seconds: got {arguments.seconds:g}, wanted 0.1 .. {MAX_SECONDS:g}")
    if (arguments.checkpoint is not None) + (arguments.url is not None) + (arguments.planner == "driver") > 1:
        parser.error("a checkpoint, --url and --planner driver exclude each other")
    return arguments
