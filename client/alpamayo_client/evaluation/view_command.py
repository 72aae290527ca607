"""`alpamayo view`: a page of an evaluation's worst cases."""

import argparse
from pathlib import Path

from .evaluate_command import add_worst


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which evaluation, and where the page goes."""
    parser.add_argument("results", type=Path, help="results.parquet, or the folder that evaluate wrote it to")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PAGE.html", help="one file with everything in it"
    )
    add_worst(parser)


def run(arguments: argparse.Namespace) -> None:
    """Reads the scenes again, from where the evaluation had them. Raises InvalidRequestError, OSError."""
    from .page import write_page  # needs the extra
    from .results import RESULTS, read_settings
    from .source import open_source

    results: Path = arguments.results
    if results.is_dir():
        results = results / RESULTS
    source = open_source(read_settings(results)["source"])
    write_page(arguments.output, results, source, arguments.worst)
    print(f"wrote {arguments.output}")
