"""An evaluation in a few numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .schema import COMFORT_COLUMNS, MIN_ADE_COLUMNS

PERCENTILES = (1, 10, 50, 90, 99)
STATISTICS = (*MIN_ADE_COLUMNS.values(), "min_fde_m", *COMFORT_COLUMNS, "latency_s")
SHARES = ("miss_rate", "incomplete_thoughts", "out_of_bounds")
_FLAGS = {"incomplete_thoughts": "reasoning_complete", "out_of_bounds": "within_bounds"}


def summarize(results: Path) -> dict[str, Any]:
    """Counts, shares (0 .. 1) and, by column of the results, mean and percentiles; None: nothing to count.

    minADE and minFDE are over scenes whose future is known; comfort is over all trajectories.
    """
    table = pq.read_table(results, columns=["error", "miss_rate", *STATISTICS, *_FLAGS.values()])
    return {
        "scenes": table.num_rows,
        "failed": table.num_rows - table["error"].null_count,
        "future_known": table.num_rows - table["min_fde_m"].null_count,
        "miss_rate": _mean(_numbers(table["miss_rate"])),
        **{share: _mean(1.0 - _numbers(table[column])) for share, column in _FLAGS.items()},
        "statistics": {column: _statistics(_numbers(table[column])) for column in STATISTICS},
    }


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The same, to be printed."""
    titles = "".join(f"{title:>10}" for title in statistics_titles())
    rows = (f"{name:32}" + "".join(f"{cell:>10}" for cell in cells) for name, cells in statistics_table(summary))
    return [*count_lines(summary), f"{'':32}{titles}", *rows]


def count_lines(summary: dict[str, Any]) -> list[str]:
    """How many scenes there are, and what part of the answers is bad."""
    counts = f"{summary['scenes']} scenes, {summary['failed']} failed, {summary['future_known']} with a known future"
    return [counts, ", ".join(f"{share.replace('_', ' ')} {_percent(summary[share])}" for share in SHARES)]


def statistics_titles() -> list[str]:
    """Of the columns of `statistics_table`."""
    return ["mean", *(f"p{percentile}" for percentile in PERCENTILES)]


def statistics_table(summary: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """(column of the results, cells): only what there is."""
    present = {name: numbers for name, numbers in summary["statistics"].items() if numbers is not None}
    return [(name, [f"{number:.3f}" for number in numbers.values()]) for name, numbers in present.items()]


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Without nulls; lists one after the other."""
    flat = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    numbers: NDArray[np.float64] = flat.drop_null().cast(pa.float64()).to_numpy()
    return numbers


def _mean(numbers: NDArray[np.float64]) -> float | None:
    return float(numbers.mean()) if numbers.size else None


def _statistics(numbers: NDArray[np.float64]) -> dict[str, float] | None:
    if not numbers.size:
        return None
    values = [numbers.mean(), *np.percentile(numbers, PERCENTILES)]
    return dict(zip(statistics_titles(), map(float, values), strict=True))


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"
