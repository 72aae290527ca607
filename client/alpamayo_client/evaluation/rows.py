"""Rows of the results, see `schema.SCHEMA`, as plain Python values: from an answer, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InvalidRequestError
from ..metrics import comfort, min_ade_by_horizon, min_fde, miss_rate
from ..prediction import Prediction
from ..scene import Scene
from ..text import printable
from .schema import MIN_ADE_COLUMNS, WHOLE_MIN_ADE_COLUMN
from .source import SceneKey, Source


def answered_row(
    key: SceneKey, fingerprint: str, scene: Scene, prediction: Prediction, latency_s: float
) -> dict[str, Any]:
    """With errors against what was driven, if the scene has it, and comfort."""
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
        "fingerprint": fingerprint,
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


def load_answered(row: Mapping[str, Any], source: Source) -> Scene:
    """The scene of an answer. Raises InvalidRequestError or OSError, if it has changed since then too."""
    key = SceneKey(row["scene_id"], row["t0_us"])
    if source.fingerprint(key) != row["fingerprint"]:
        raise InvalidRequestError(f"{key} has changed since it was answered")
    return source.load(key)


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


def case_title(place: int, row: Mapping[str, Any]) -> str:
    """Which of the worst cases it is, and how bad it is if that is known: one line, safe to print."""
    error_m = row[WHOLE_MIN_ADE_COLUMN]
    error = "" if error_m is None else f": minADE@{row['num_traj_samples']} {error_m:.2f} m"
    return printable(f"{place}. {SceneKey(row['scene_id'], row['t0_us'])}{error}")


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
