"""What was found, a row for each thing that was compared, and the table of them."""

from collections.abc import Sequence
from dataclasses import dataclass

PASS, FAIL, NOT_RUN = "pass", "FAIL", "not run here"


@dataclass(frozen=True)
class Row:
    """`error` is None where nothing could be compared; `note` says why, or what differs."""

    part: str
    error: float | None
    tolerance: float
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.error is None:
            return NOT_RUN
        return PASS if self.error <= self.tolerance else FAIL  # nor is NaN a pass


def failed(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.verdict == FAIL]


def table(rows: Sequence[Row]) -> str:
    """Aligned columns: part, error, tolerance, verdict with its note."""
    cells = [("part", "error", "tolerance", "verdict")]
    for row in rows:
        error = "-" if row.error is None else f"{row.error:.3g}"
        verdict = row.verdict + (f": {row.note}" if row.note else "")
        cells.append((row.part, error, f"{row.tolerance:.3g}", verdict))
    first, second, third, _ = (max(map(len, column)) for column in zip(*cells, strict=True))
    return "\n".join(f"{a:{first}}  {b:>{second}}  {c:>{third}}  {d}" for a, b, c, d in cells)


def summary(rows: Sequence[Row]) -> str:
    """How many there are of each verdict."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (PASS, FAIL, NOT_RUN)}
    said = {PASS: "passed", FAIL: "failed", NOT_RUN: "not run here"}
    return ", ".join(f"{count} {said[verdict]}" for verdict, count in counts.items() if count)
