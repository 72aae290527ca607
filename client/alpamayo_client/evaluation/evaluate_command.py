"""`alpamayo evaluate` as it is called."""

import argparse
from pathlib import Path

from ..argument_types import finite, positive
from ..checks import check_int
from ..request import PARAMETERS
from ..server_arguments import connection
from .source import Source

REFERENCE_T0_S = 5.1
OF_CLIPS = ("t0_s", "revision", "cache_dir")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is needed besides the server and the request's parameters."""
    scenes = parser.add_mutually_exclusive_group(required=True)
    scenes.add_argument("--scenes", type=Path, metavar="FOLDER", help="of .npz files, see alpamayo_client.Scene")
    scenes.add_argument(
        "--clips",
        type=str.strip,
        nargs="+",
        metavar="ID",
        help="of the dataset PhysicalAI-Autonomous-Vehicles; @FILE: one per line",
    )
    clips = parser.add_argument_group("clips")
    clips.add_argument(
        "--t0-s", type=finite, nargs="+", metavar="S", help=f"seconds into each (default: {REFERENCE_T0_S})"
    )
    clips.add_argument(
        "--revision", help="of the dataset, a commit (default: the newest; to be given without a network)"
    )
    clips.add_argument("--cache-dir", type=Path, help="where its files are, or go (default: Hugging Face's cache)")
    parser.add_argument("--output", type=Path, required=True, help="folder; a run that was stopped goes on in it")
    parser.add_argument("--concurrency", type=positive, default=4, help="scenes at a time (default: %(default)s)")
    parser.add_argument("--label", action="store_true", help="write labels.parquet too, a row per trajectory")
    parser.set_defaults(wrong_usage=parser.error)
    add_worst(parser)


def add_worst(parser: argparse.ArgumentParser) -> None:
    """How long the page is."""
    parser.add_argument("--worst", type=positive, default=12, help="cases on the page (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """See `evaluate`."""
    _check_usage(arguments)
    from . import schema  # noqa: F401  before the others: it names the extra
    from .asking import Asking
    from .evaluate import evaluate

    given = {name: getattr(arguments, name) for name in PARAMETERS if getattr(arguments, name) is not None}
    asking = Asking(given, arguments.timeout_s, arguments.priority, arguments.wait_s)
    evaluate(
        connection(arguments),
        _source(arguments),
        arguments.output.resolve(),  # or pyarrow takes "a:b" for an address
        asking,
        concurrency=arguments.concurrency,
        worst=arguments.worst,
        label=arguments.label,
    )


def _check_usage(arguments: argparse.Namespace) -> None:
    """Exits with 2 if options are wrong together."""
    if arguments.clips and not any(arguments.clips):
        arguments.wrong_usage("argument --clips: got only empty lines, wanted a clip's id on each")
    for name in OF_CLIPS:
        if arguments.scenes and getattr(arguments, name) is not None:
            arguments.wrong_usage(f"argument --{name.replace('_', '-')}: not allowed with argument --scenes")


def _source(arguments: argparse.Namespace) -> Source:
    from .npz_folder import NpzFolder
    from .physical_ai_av import PhysicalAiAv

    if arguments.scenes:
        return NpzFolder(arguments.scenes)
    t0s_us = [check_int("--t0-s in microseconds", round(t0_s * 1e6)) for t0_s in arguments.t0_s or [REFERENCE_T0_S]]
    return PhysicalAiAv(arguments.revision, arguments.cache_dir, list(filter(None, arguments.clips)), t0s_us)
