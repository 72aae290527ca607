"""A model's text where people read it: a random or confused model may write anything."""

import textwrap
from collections.abc import Callable

from .prediction import Prediction


def printable(text: str, has_glyph: Callable[[str], bool] = lambda character: True) -> str:
    """One line: whitespace runs become a space; what cannot be shown (control characters too) becomes U+FFFD."""
    shown = (c if c.isprintable() and has_glyph(c) else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    return "".join(shown)


def wrapped(text: str, width: int, max_lines: int) -> list[str]:
    """Lines of at most `width` characters; the last one ends in … if text is left out."""
    return textwrap.wrap(text, width, max_lines=max_lines, placeholder=" …") or [""]


def reasoning_text(prediction: Prediction) -> str:
    """A line per thought, which all sets share; safe to print."""
    lines = [
        f"thought {i}{'' if complete else ' (cut off)'}: {printable(thought)}\n"
        for i, (thought, complete) in enumerate(
            zip(prediction.cot[0, 0], prediction.reasoning_complete[0, 0], strict=True)
        )
    ]
    return "".join(lines)
