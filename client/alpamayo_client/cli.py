"""`alpamayo predict`, `evaluate`, `view` and `metadata`."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import server_arguments
from .argument_types import finite
from .client import AlpamayoClient
from .errors import AlpamayoError, InvalidRequestError
from .evaluation import evaluate_command, view_command
from .metrics import min_ade
from .request import PARAMETERS
from .scene import Scene
from .server_arguments import connection
from .server_info import StageTime
from .text import printable, reasoning_text


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: the server or a file failed, with one line on stderr; 2: wrong usage; 130: Ctrl-C, likewise;
    141: nobody reads stdout.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at its end
        return 128 + signal.SIGPIPE  # as of any program in `program | head`


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except BrokenPipeError:
        raise
    except (AlpamayoError, ImportError, OSError) as error:
        print(f"alpamayo: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("alpamayo: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def predict(arguments: argparse.Namespace) -> None:
    """Ask for one scene; write what came back."""
    from .plot import save_picture  # before the server is asked: it needs an extra

    if arguments.rerun:
        from .looking.rerun_log import save_scene  # so does this
    output: Path = arguments.output
    scene = arguments.scene
    output.mkdir(parents=True, exist_ok=True)
    with AlpamayoClient(**connection(arguments)) as client:
        client.wait_until_ready(arguments.wait_s)
        before, start = client.stage_times(), time.monotonic()
        prediction = client.predict(
            scene,
            reasoning=arguments.reasoning,
            timeout_s=arguments.timeout_s,
            priority=arguments.priority,
            **{name: getattr(arguments, name) for name in PARAMETERS},
        )
        print(took(client.stage_times(since=before), time.monotonic() - start))
    thoughts = reasoning_text(prediction)
    prediction.save(output / "prediction.npz")
    (output / "reasoning.txt").write_text(thoughts, encoding="utf-8")
    save_picture(output / "prediction.png", scene, prediction)
    print(thoughts, end="")
    if scene.ego_future_xyz is not None:
        error_m = min_ade(prediction.pred_xyz, scene.ego_future_xyz)
        print(f"minADE@{prediction.cot.shape[2]}: {error_m:.3f} m")
    print(f"seed {prediction.seed}; wrote prediction.npz, reasoning.txt and prediction.png to {output}")
    if arguments.rerun:
        save_scene(arguments.rerun, scene, prediction)
        print(f"wrote {arguments.rerun}")


def metadata(arguments: argparse.Namespace) -> None:
    """Print what is served."""
    with AlpamayoClient(**connection(arguments)) as client:
        print(json.dumps(client.metadata(), indent=2))


def took(stages: dict[str, StageTime], whole_s: float) -> str:
    """Seconds per stage, a line each. Others' requests at the same time are in the mean."""
    lines = [f"{name:20} {time.mean_compute_s:8.3f} s" for name, time in stages.items()]
    return "\n".join([*lines, f"{'whole call':20} {whole_s:8.3f} s"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="alpamayo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    server = argparse.ArgumentParser(add_help=False)
    server_arguments.add_arguments(server)

    asking = argparse.ArgumentParser(add_help=False, parents=[server])
    asking.add_argument("--wait-s", type=finite, default=60.0, help="for the server to be ready (default: %(default)s)")
    asking.add_argument("--timeout-s", type=finite, help="for the answer (default: no limit)")
    asking.add_argument("--priority", type=int, help="1: urgent, 2: usual (default), 3: may wait")
    for name, kind in PARAMETERS.items():
        asking.add_argument(f"--{name.replace('_', '-')}", type=kind, help="default: the server's")

    ask = commands.add_parser("predict", parents=[asking], help="trajectories, thoughts and a picture of one scene")
    ask.set_defaults(run=predict)
    ask.add_argument("--scene", type=_scene, required=True, help="an .npz, see alpamayo_client.Scene")
    ask.add_argument("--output", type=Path, required=True, help="folder for what comes back")
    ask.add_argument("--rerun", type=Path, metavar="FILE.rrd", help="write a recording for the viewer of rerun.io too")
    ask.add_argument("--reasoning", action="append", metavar="TEXT", help="a given thought; once per sample")

    evaluate = commands.add_parser(
        "evaluate", parents=[asking], fromfile_prefix_chars="@", help="many scenes, how good the answers are, the worst"
    )
    evaluate.set_defaults(run=evaluate_command.run)
    evaluate_command.add_arguments(evaluate)

    view = commands.add_parser("view", help="an evaluation's worst cases: a page for any browser, or a recording")
    view.set_defaults(run=view_command.run)
    view_command.add_arguments(view)

    about = commands.add_parser("metadata", parents=[server], help="what is served, as JSON")
    about.set_defaults(run=metadata)
    return parser


def _scene(path: str) -> Scene:
    try:
        return Scene.load(path)
    except (InvalidRequestError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
