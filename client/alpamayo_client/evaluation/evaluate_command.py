"""`alpamayo evaluate` as it is called."""

import argparse
from pathlib import Path

from ..request import PARAMETERS

REFERENCE_T0_S = 5.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is needed besides the server and the request's parameters."""
    scenes = parser.add_mutually_exclusive_group(required=True)
    scenes.add_argument("--scenes", type=Path, metavar="FOLDER", help="of .npz files, see alpamayo_client.Scene")
    scenes.add_argument(
        "--clips", nargs="+", metavar="ID", help="of the dataset PhysicalAI-Autonomous-Vehicles; @FILE: one per line"
    )
    clips = parser.add_argument_group("clips")
    clips.add_argument(
        "--t0-s", type=float, nargs="+", default=[REFERENCE_T0_S], help="seconds into each (default: %(default)s)"
    )
    clips.add_argument("--revision", help="of the dataset (default: the newest; to be given without a network)")
    clips.add_argument("--cache-dir", type=Path, help="where its files are, or go (default: Hugging Face's cache)")
    parser.add_argument("--output", type=Path, required=True, help="folder; a run that was stopped goes on in it")
    parser.add_argument("--concurrency", type=positive, default=4, help="scenes at a time (default: %(default)s)")
    parser.add_argument("--label", action="store_true", help="write labels.parquet too, a row per trajectory")
    add_worst(parser)


def add_worst(parser: argparse.ArgumentParser) -> None:
    """How long the page is."""
    parser.add_argument("--worst", type=positive, default=12, help="cases on the page (default: %(default)s)")


def positive(text: str) -> int:
    """For argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"got {number}, wanted at least 1")
    return number


def run(arguments: argparse.Namespace) -> None:
    """See `evaluate`."""
    from .evaluate import evaluate  # needs the extra
    from .npz_folder import NpzFolder
    from .physical_ai_av import PhysicalAiAv
    from .run import Asking

    source: NpzFolder | PhysicalAiAv
    if arguments.scenes:
        source = NpzFolder(arguments.scenes)
    else:
        clip_ids, t0s_us = filter(None, arguments.clips), [round(t0_s * 1e6) for t0_s in arguments.t0_s]
        source = PhysicalAiAv(arguments.revision, arguments.cache_dir, list(clip_ids), t0s_us)
    given = {name: getattr(arguments, name) for name in PARAMETERS if getattr(arguments, name) is not None}
    evaluate(
        arguments.url,
        source,
        arguments.output,
        Asking(given, arguments.timeout_s, arguments.priority, arguments.wait_s),
        concurrency=arguments.concurrency,
        worst=arguments.worst,
        label=arguments.label,
    )
