"""Teacher labels for distillation as Parquet: `SCHEMA`, a row per trajectory of the results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..checks import WAYPOINTS
from .results import read_rows, write_parquet
from .rows import to_prediction
from .schema import SCHEMA as RESULTS_SCHEMA

_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("traj_set", pa.int32(), "0 .. sets - 1"),
    ("traj_sample", pa.int32(), "0 .. samples - 1: which thought"),
    ("cot", pa.string(), "the thought"),
    ("reasoning_complete", pa.bool_(), "the thought ended by itself"),
    ("within_bounds", pa.bool_(), "every action is inside the checkpoint's bounds"),
    ("pred_xyz", pa.list_(pa.float32(), WAYPOINTS * 3), "(64, 3) metres, ego frame at t0, at t0 + 0.1 s .. 6.4 s"),
    ("pred_yaw_rad", pa.list_(pa.float32(), WAYPOINTS), "(64,): heading in that frame, left is positive"),
    ("action", pa.list_(pa.float32(), WAYPOINTS * 2), "(64, 2): acceleration in m/s2, curvature in 1/m"),
)
SCHEMA = pa.schema(
    [
        *(RESULTS_SCHEMA.field(name) for name in ("scene_id", "t0_us", "seed")),
        *(pa.field(name, kind, metadata={"description": text}) for name, kind, text in _COLUMNS),
    ]
)
"""Arrays are flat, in C order. Thoughts that were cut off and actions out of bounds are in it, and marked."""


def write_labels(path: Path, results: Path) -> None:
    """Of every scene that was answered."""
    answered = (row for row in read_rows(results) if row["error"] is None)
    write_parquet(path, SCHEMA, (label for row in answered for label in _labels(row)))


def _labels(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    prediction = to_prediction(row)
    yaw = np.reshape(row["pred_yaw_rad"], (*prediction.cot.shape, WAYPOINTS))
    for index in np.ndindex(prediction.cot.shape):
        yield {
            "scene_id": row["scene_id"],
            "t0_us": row["t0_us"],
            "seed": row["seed"],
            "traj_set": index[1],
            "traj_sample": index[2],
            "cot": prediction.cot[index],
            "reasoning_complete": prediction.reasoning_complete[index].item(),
            "within_bounds": prediction.within_bounds[index].item(),
            "pred_xyz": prediction.pred_xyz[index].ravel(),
            "pred_yaw_rad": yaw[index],
            "action": prediction.action[index].ravel(),
        }
