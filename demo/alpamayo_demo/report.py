"""What the commands that measure share: a result, printed as markdown and written as JSON, or a line on what failed."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alpamayo_client import AlpamayoError
from alpamayo_export.errors import ExportError
from alpamayo_serve.errors import LaunchError

from .errors import DemoError
from .terminated import cleaning_up_on_sigterm

EXPECTED = (AlpamayoError, DemoError, ExportError, LaunchError, OSError)
Result = dict[str, Any]


def report(program: str, measure: Callable[[], Result], text: Callable[[Result], str], output: Path | None) -> int:
    """Writes what `measure` returns to `output`, and prints `text` of it.

    Returns:
        The exit status: 0; 1 after one of EXPECTED, 130 after Ctrl-C, with a line on stderr.

    Raises:
        SystemExit: SIGTERM came; what `measure` began has been ended.
    """
    try:
        if output:  # said before minutes of work, not after
            check_writable(output)
        with cleaning_up_on_sigterm():
            measured = measure()
        result = {"gpu": measured["machine"]["gpu"], **measured}  # first: a number without its hardware is none
        if output:
            output.write_text(json.dumps(result, indent=2) + "\n")
        print(text(result))
    except EXPECTED as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def check_writable(output: Path) -> None:
    """Raises DemoError unless a file can be written there."""
    if output.is_dir() or not output.parent.is_dir():
        raise DemoError(f"--output {output}: wanted a file in a folder that exists")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise DemoError(f"--output {output}: may not be written")


def markdown(rows: list[list[str]]) -> str:
    """A table; the first row is its header."""
    header, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, "|" + "---|" * len(rows[0]), *body])
