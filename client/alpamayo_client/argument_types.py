"""Numbers on a command line, for argparse."""

import argparse
import math


def positive(text: str) -> int:
    """1 or more."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"got {number}, wanted at least 1")
    return number


def finite(text: str) -> float:
    """Neither nan nor infinite."""
    if not math.isfinite(number := float(text)):
        raise argparse.ArgumentTypeError(f"got {number}, wanted a finite number")
    return number
