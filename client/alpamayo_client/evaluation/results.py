"""The results of an evaluation as Parquet: `SCHEMA` is what is in it."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidRequestError
from ..metrics import HORIZONS_S, Comfort, comfort, min_ade_by_horizon, min_fde, miss_rate
from ..prediction import Prediction
from ..scene import Scene
from .source import SceneKey

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.dataset import dataset
except ImportError as error:
    raise ImportError(f"results need more packages ({error}): pip install 'alpamayo-client[evaluate]'") from error

RESULTS = "results.parquet"
ROWS_AT_ONCE = 64
SETTINGS = b"alpamayo_settings"
"""Key of the file's metadata that holds, as JSON, what was asked with: source, parameters, model."""

MIN_ADE_COLUMNS = {horizon_s: f"min_ade_{horizon_s:g}s_m" for horizon_s in HORIZONS_S}
COMFORT_COLUMNS = tuple(field.name for field in fields(Comfort))
_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("scene_id", pa.string(), "the file's name without .npz, or the clip's id"),
    ("t0_us", pa.int64(), "microseconds of the clip's clock; null for a file"),
    ("error", pa.string(), "why there is no answer: then all that follows is null; null: there is one"),
    ("latency_s", pa.float64(), "seconds of the call, the wait behind others included"),
    ("seed", pa.int64(), "asks for the same answer again"),
    ("denoiser_runner", pa.string(), "what ran the denoising step"),
    ("num_traj_sets", pa.int32(), "trajectories per thought"),
    ("num_traj_samples", pa.int32(), "thoughts: the K of minADE@K"),
    ("pred_xyz", pa.list_(pa.float32()), "(sets, samples, 64, 3) metres, ego frame at t0, at t0 + 0.1 s .. 6.4 s"),
    ("pred_yaw_rad", pa.list_(pa.float32()), "(sets, samples, 64): heading in that frame, left is positive"),
    ("action", pa.list_(pa.float32()), "(sets, samples, 64, 2): acceleration in m/s2, curvature in 1/m"),
    ("cot", pa.list_(pa.string()), "(samples,): the thoughts"),
    ("reasoning_complete", pa.list_(pa.bool_()), "(sets, samples): the thought ended by itself"),
    ("within_bounds", pa.list_(pa.bool_()), "(sets, samples): every action is inside the checkpoint's bounds"),
    *(
        (name, pa.float64(), f"minADE@K in metres over {horizon_s:g} s; null if the future is not known")
        for horizon_s, name in MIN_ADE_COLUMNS.items()
    ),
    ("min_fde_m", pa.float64(), "minFDE@K in metres; null if the future is not known"),
    ("miss_rate", pa.float64(), "share of sets whose every sample ends 2 m off; null if the future is not known"),
    *((name, pa.list_(pa.float64()), "(sets, samples): see metrics.Comfort") for name in COMFORT_COLUMNS),
)
SCHEMA = pa.schema([pa.field(name, kind, metadata={"description": text}) for name, kind, text in _COLUMNS])
"""A row per scene. Arrays are flat, in C order; their shapes are in the fields' descriptions."""


def answered_row(key: SceneKey, scene: Scene, prediction: Prediction, latency_s: float) -> dict[str, Any]:
    """A row of plain Python values."""
    _, sets, samples = prediction.cot.shape
    rot = prediction.pred_rot
    arrays = {
        "pred_xyz": prediction.pred_xyz,
        "pred_yaw_rad": np.arctan2(rot[..., 1, 0], rot[..., 0, 0]),
        "action": prediction.action,
        "cot": prediction.cot[0, 0],
        "reasoning_complete": prediction.reasoning_complete,
        "within_bounds": prediction.within_bounds,
        **vars(comfort(prediction.pred_xyz, prediction.action)),
    }
    return {
        "scene_id": key.scene_id,
        "t0_us": key.t0_us,
        "error": None,
        "latency_s": latency_s,
        "seed": prediction.seed,
        "denoiser_runner": prediction.denoiser_runner,
        "num_traj_sets": sets,
        "num_traj_samples": samples,
        **{name: array.ravel().tolist() for name, array in arrays.items()},
        **_errors(scene, prediction),
    }


def failed_row(key: SceneKey, error: Exception) -> dict[str, Any]:
    """A row that says why there is no answer."""
    return {"scene_id": key.scene_id, "t0_us": key.t0_us, "error": str(error)}


def to_prediction(row: Mapping[str, Any]) -> Prediction:
    """The answer that a row was made of."""
    shape = (1, row["num_traj_sets"], row["num_traj_samples"])
    yaw = np.asarray(row["pred_yaw_rad"], np.float32).reshape(*shape, -1)
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    rot = [[np.cos(yaw), -np.sin(yaw), zero], [np.sin(yaw), np.cos(yaw), zero], [zero, zero, one]]
    return Prediction(
        pred_xyz=np.asarray(row["pred_xyz"], np.float32).reshape(*shape, -1, 3),
        pred_rot=np.moveaxis(np.array(rot), (0, 1), (-2, -1)),
        cot=np.broadcast_to(np.array(row["cot"], dtype=np.object_), shape),
        action=np.asarray(row["action"], np.float32).reshape(*shape, -1, 2),
        within_bounds=np.asarray(row["within_bounds"]).reshape(shape),
        reasoning_complete=np.asarray(row["reasoning_complete"]).reshape(shape),
        seed=row["seed"],
        denoiser_runner=row["denoiser_runner"],
    )


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
    columns = ["error", MIN_ADE_COLUMNS[HORIZONS_S[-1]], "max_lateral_acceleration_mps2"]
    badness = [
        (error_m is not None, max(lateral_mps2) if error_m is None else error_m, index)
        for index, (error, error_m, lateral_mps2) in enumerate(
            zip(*pq.read_table(path, columns=columns).to_pydict().values(), strict=True)
        )
        if error is None
    ]
    indices = [index for *_, index in sorted(badness, reverse=True)[:count]]
    rows: list[dict[str, Any]] = dataset(path).take(indices).to_pylist()
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


def _errors(scene: Scene, prediction: Prediction) -> dict[str, float]:
    driven, xyz = scene.ego_future_xyz, prediction.pred_xyz
    if driven is None:
        return {}
    by_horizon = min_ade_by_horizon(xyz, driven)
    return {
        **{name: by_horizon[horizon_s] for horizon_s, name in MIN_ADE_COLUMNS.items()},
        "min_fde_m": min_fde(xyz, driven),
        "miss_rate": miss_rate(xyz, driven),
    }
