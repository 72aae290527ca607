"""The results of an evaluation as a Parquet file."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset

from ..errors import InvalidRequestError
from .schema import SCHEMA, WHOLE_MIN_ADE_COLUMN

RESULTS = "results.parquet"
ROWS_AT_ONCE = 64
SETTINGS = b"alpamayo_settings"
"""Key of the file's metadata that holds, as JSON, what was asked with: source, parameters, model."""


def write_parquet(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> None:
    """A whole file or none, never more than a few rows in memory."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    remaining = iter(rows)
    with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        while some := list(islice(remaining, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema))
    os.replace(unfinished, path)


def write_results(path: Path, settings: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """`settings`: plain values, for the file's metadata."""
    write_parquet(path, SCHEMA.with_metadata({SETTINGS: json.dumps(settings)}), rows)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """One after the other."""
    for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE):
        yield from batch.to_pylist()


def read_failed(path: Path) -> list[dict[str, Any]]:
    """`scene_id`, `t0_us` and `error` of every scene that has no answer."""
    table = pq.read_table(path, columns=["scene_id", "t0_us", "error"])
    rows: list[dict[str, Any]] = table.filter(table["error"].is_valid()).to_pylist()
    return rows


def read_worst(path: Path, count: int) -> list[dict[str, Any]]:
    """At most `count` rows with an answer, the worst first: the largest minADE over 6.4 s.

    Where the future is not known, after all others, it is the largest lateral acceleration.
    """
    columns = ["error", WHOLE_MIN_ADE_COLUMN, "max_lateral_acceleration_mps2"]
    scenes = enumerate(pq.read_table(path, columns=columns).to_pylist())
    worst_first = sorted((_badness(row), index) for index, row in scenes if row["error"] is None)[::-1]
    rows: list[dict[str, Any]] = dataset(path).take([index for _, index in worst_first[:count]]).to_pylist()
    return rows


def read_settings(path: Path) -> dict[str, Any]:
    """What was asked with. Raises InvalidRequestError if it is not one of results, OSError if there is none."""
    try:
        schema = pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise InvalidRequestError(f"{path}: wanted results written by alpamayo evaluate, got {error}") from error
    if not schema.equals(SCHEMA) or SETTINGS not in (schema.metadata or {}):
        raise InvalidRequestError(f"{path}: wanted results written by alpamayo evaluate, got columns {schema.names}")
    settings: dict[str, Any] = json.loads(schema.metadata[SETTINGS])
    return settings


def _badness(row: Mapping[str, Any]) -> tuple[bool, float]:
    error_m = row[WHOLE_MIN_ADE_COLUMN]
    return error_m is not None, max(row["max_lateral_acceleration_mps2"]) if error_m is None else error_m
