"""What a long export is at: one line for every step of it. Steps that can be counted have a bar besides (tqdm)."""

import sys

PREFIX = "alpamayo-export: "


def say(step: str) -> None:
    """On stderr: stdout has the result only."""
    print(f"{PREFIX}{step}", file=sys.stderr, flush=True)
