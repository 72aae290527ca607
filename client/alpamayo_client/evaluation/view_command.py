"""`alpamayo view`: a page, or a recording of Rerun, of an evaluation's worst cases."""

import argparse
from pathlib import Path

from .evaluate_command import add_worst


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which evaluation, and what is made of it."""
    parser.add_argument("results", type=Path, help="results.parquet, or the folder that evaluate wrote it to")
    made = parser.add_mutually_exclusive_group(required=True)
    made.add_argument("--output", type=Path, metavar="PAGE.html", help="one file with everything in it")
    made.add_argument("--rerun", type=Path, metavar="FILE.rrd", help="a recording for the viewer of rerun.io")
    add_worst(parser)


def run(arguments: argparse.Namespace) -> None:
    """Reads the scenes again, from where the evaluation had them. Raises InvalidRequestError, OSError."""
    from . import schema  # noqa: F401  before the others: it names the extra
    from .results import RESULTS, read_settings
    from .source import open_source

    results: Path = arguments.results
    if results.is_dir():
        results = results / RESULTS
    source = open_source(read_settings(results)["source"])
    if arguments.rerun:
        from ..looking.rerun_worst import save_worst

        save_worst(arguments.rerun, results, source, arguments.worst)
    else:
        from .page import write_page

        write_page(arguments.output, results, source, arguments.worst)
    print(f"wrote {arguments.rerun or arguments.output}")
