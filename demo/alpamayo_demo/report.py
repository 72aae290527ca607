"""What the commands that measure share: a result, printed and written as JSON, or one line about what failed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alpamayo_client import AlpamayoError
from alpamayo_export.errors import ExportError
from alpamayo_serve.errors import LaunchError

from .errors import DemoError

EXPECTED = (AlpamayoError, DemoError, ExportError, LaunchError, OSError)
Result = dict[str, Any]


def report(program: str, measure: Callable[[], Result], text: Callable[[Result], str], output: Path | None) -> int:
    """Prints `text` of what `measure` returns, and writes it to `output`.

    Returns:
        The exit status: 0, or 1 after one of EXPECTED, with a line on stderr.
    """
    try:
        if output and (output.is_dir() or not output.parent.is_dir()):  # said before minutes of work, not after
            raise DemoError(f"--output {output}: wanted a file in a folder that exists")
        result = measure()
        print(text(result))
        if output:
            output.write_text(json.dumps(result, indent=2) + "\n")
    except EXPECTED as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0
