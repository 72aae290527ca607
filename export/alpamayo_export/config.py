"""The checkpoint's `config.json`: read as released, checked against what this project computes.

The released file names its parts by hydra `_target_` strings of NVIDIA's package, which is no dependency here: a part
is known by the last component of its target. What the file must say is never filled in from a default in code.
"""

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from alpamayo_model_repository.contract import HISTORY_POSES, WAYPOINTS

from alpamayo_export.errors import ExportError

Json = dict[str, Any]

# config key -> the parts this project implements
_KNOWN_TARGETS = {
    "action_in_proj_cfg": ("PerWaypointActionInProjV2",),
    "action_out_proj_cfg": ("Linear",),
    "action_space_cfg": ("UnicycleAccelCurvatureActionSpace",),
    "diffusion_cfg": ("FlowMatching",),
    "hist_traj_tokenizer_cfg": ("DeltaTrajectoryTokenizer",),
    "traj_tokenizer_cfg": ("DiscreteTrajectoryTokenizer",),
}
RANDOM_VLM_SEED = "random_vlm_seed"
"""config.json's key where the vision-language model's weights are not stored, but drawn; for measurements alone."""
_TRAJ_TOKENS = ("history", "future", "history_start", "future_start", "history_end", "future_end")


@dataclass(frozen=True)
class ActionInProjConfig:
    hidden_size: int
    max_freq: float
    num_enc_layers: int
    num_fourier_feats: int  # sines and cosines together


@dataclass(frozen=True)
class ActionSpaceConfig:
    """Accelerations in m/s2, curvatures in 1/m, dt in seconds."""

    accel_mean: float
    accel_std: float
    curvature_mean: float
    curvature_std: float
    accel_bounds: tuple[float, float]
    curvature_bounds: tuple[float, float]
    dt: float
    n_waypoints: int
    v_lambda: float
    v_ridge: float


@dataclass(frozen=True)
class HistoryTokenizerConfig:
    """Displacements between poses, in metres, are cut into `num_bins` between the limits."""

    ego_xyz_min: tuple[float, float, float]
    ego_xyz_max: tuple[float, float, float]
    num_bins: int


@dataclass(frozen=True)
class AlpamayoConfig:
    vlm_name_or_path: str
    model_dtype: str
    vocab_size: int
    traj_vocab_size: int
    traj_token_start_idx: int
    traj_token_ids: dict[str, int]
    future_bins: int
    add_special_tokens: bool
    min_pixels: int
    max_pixels: int
    expert: Json  # overrides of the language model's text config
    action_in_proj: ActionInProjConfig
    action_space: ActionSpaceConfig
    history_tokenizer: HistoryTokenizerConfig
    random_vlm_seed: int | None


def read_config(checkpoint: Path) -> AlpamayoConfig:
    """Reads `checkpoint/config.json`.

    Raises:
        ExportError: no such file, not an Alpamayo 1 checkpoint, a part or a setting that this project does not know.
    """
    raw = _read_json(checkpoint / "config.json")
    _require(raw, "model_type", "alpamayo_r1")
    _require(raw, "vlm_backend", "qwenvl3")
    _require(raw, "expert_non_causal_attention", True)
    _require(raw, "tokens_per_history_traj", 3 * HISTORY_POSES)
    parts = {key: _part(raw, key) for key in _KNOWN_TARGETS}
    _check_diffusion(parts["diffusion_cfg"])
    if parts["hist_traj_tokenizer_cfg"].get("predict_yaw", False):
        raise ExportError("hist_traj_tokenizer_cfg.predict_yaw is true; known are histories without yaw tokens")
    return _checked(
        AlpamayoConfig(
            vlm_name_or_path=_get(raw, "vlm_name_or_path", str),
            model_dtype=_get(raw, "model_dtype", str),
            vocab_size=_get(raw, "vocab_size", int),
            traj_vocab_size=_get(raw, "traj_vocab_size", int),
            traj_token_start_idx=_get(raw, "traj_token_start_idx", int),
            traj_token_ids={name: _get(_get(raw, "traj_token_ids", dict), name, int) for name in _TRAJ_TOKENS},
            future_bins=_get(parts["traj_tokenizer_cfg"], "num_bins", int),
            add_special_tokens=_get(raw, "add_special_tokens", bool),
            min_pixels=_get(raw, "min_pixels", int),
            max_pixels=_get(raw, "max_pixels", int),
            expert=_get(raw, "expert_cfg", dict),
            action_in_proj=ActionInProjConfig(
                hidden_size=_get(parts["action_in_proj_cfg"], "hidden_size", int),
                max_freq=_get(parts["action_in_proj_cfg"], "max_freq", float),
                num_enc_layers=_get(parts["action_in_proj_cfg"], "num_enc_layers", int),
                num_fourier_feats=_get(parts["action_in_proj_cfg"], "num_fourier_feats", int),
            ),
            action_space=_action_space(parts["action_space_cfg"]),
            history_tokenizer=_history_tokenizer(parts["hist_traj_tokenizer_cfg"]),
            random_vlm_seed=_get(raw, RANDOM_VLM_SEED, int) if RANDOM_VLM_SEED in raw else None,
        )
    )


def _check_diffusion(part: Json) -> None:
    """The flow is integrated as the wire contract says: Euler, as many steps as a request asks for, 10 by default."""
    known = {"int_method": "euler", "num_inference_steps": 10, "x_dims": "???"}  # x_dims: never filled in, as released
    for key, value in part.items():
        if key != "_target_" and (key not in known or (key != "x_dims" and value != known[key])):
            raise ExportError(f"diffusion_cfg.{key} is {value!r}; known are {known}")


def _checked(config: AlpamayoConfig) -> AlpamayoConfig:
    """Raises ExportError where numbers are each of the right type and yet make no sense together."""
    space, history = config.action_space, config.history_tokenizer
    sane = {
        "0 < min_pixels <= max_pixels": 0 < config.min_pixels <= config.max_pixels,
        "accel_std > 0 and curvature_std > 0": space.accel_std > 0 and space.curvature_std > 0,
        "accel_bounds and curvature_bounds in order": space.accel_bounds[0] < space.accel_bounds[1]
        and space.curvature_bounds[0] < space.curvature_bounds[1],
        "ego_xyz_min < ego_xyz_max": all(
            low < high for low, high in zip(history.ego_xyz_min, history.ego_xyz_max, strict=True)
        ),
        "2 <= num_bins of histories, and with those of futures at most traj_vocab_size": history.num_bins >= 2
        and config.future_bins + history.num_bins <= config.traj_vocab_size,
        "an even num_fourier_feats >= 4": config.action_in_proj.num_fourier_feats >= 4
        and config.action_in_proj.num_fourier_feats % 2 == 0,
        "num_enc_layers >= 1": config.action_in_proj.num_enc_layers >= 1,
        f"0 <= {RANDOM_VLM_SEED} < 2**32, if it is there": 0 <= (config.random_vlm_seed or 0) < 2**32,
    }
    wrong = [rule for rule, holds in sane.items() if not holds]
    if wrong:
        raise ExportError(f"config.json does not hold together; wanted {'; '.join(wrong)}")
    return config


def _action_space(part: Json) -> ActionSpaceConfig:
    numbers = ("accel_mean", "accel_std", "curvature_mean", "curvature_std", "dt", "v_lambda", "v_ridge")
    if _get(part, "n_waypoints", int) != WAYPOINTS:
        raise ExportError(f"action_space_cfg.n_waypoints is {part['n_waypoints']}; the contract has {WAYPOINTS}")
    if part.get("dt") != 0.1:
        raise ExportError(f"action_space_cfg.dt is {part.get('dt')} s; the contract has waypoints every 0.1 s")
    return ActionSpaceConfig(
        accel_bounds=_vector(part, "accel_bounds", 2),
        curvature_bounds=_vector(part, "curvature_bounds", 2),
        n_waypoints=WAYPOINTS,
        **{name: _get(part, name, float) for name in numbers},
    )


def _history_tokenizer(part: Json) -> HistoryTokenizerConfig:
    return HistoryTokenizerConfig(
        ego_xyz_min=_vector(part, "ego_xyz_min", 3),
        ego_xyz_max=_vector(part, "ego_xyz_max", 3),
        num_bins=_get(part, "num_bins", int),
    )


def _read_json(path: Path) -> Json:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise ExportError(f"{path} does not exist; give the folder of an Alpamayo 1 checkpoint") from None
    except ValueError as error:
        raise ExportError(f"{path} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ExportError(f"{path} must hold a JSON object, it holds a {type(value).__name__}")
    return value


def _part(raw: Json, key: str) -> Json:
    part = _get(raw, key, dict)
    target = _get(part, "_target_", str)
    if target.rpartition(".")[2] not in _KNOWN_TARGETS[key]:
        raise ExportError(f"{key}._target_ is {target!r}; known is {' or '.join(_KNOWN_TARGETS[key])}")
    return part


def _require(raw: Json, key: str, wanted: Any) -> None:
    if raw.get(key) != wanted:
        raise ExportError(f"config.json: {key} is {raw.get(key)!r}; this project knows {wanted!r}")


def _get(raw: Json, key: str, kind: type) -> Any:
    value: Any = raw.get(key)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not isfinite(raw[key])):
        raise ExportError(f"config.json: {key} must be a {kind.__name__}, it is {value!r}")
    return value


def _vector(part: Json, key: str, size: int) -> Any:
    values: Any = part.get(key)
    finite = isinstance(values, list) and all(isinstance(v, int | float) and isfinite(v) for v in values)
    if not finite or len(values) != size:
        raise ExportError(f"config.json: {key} must be {size} numbers, it is {values!r}")
    return tuple(float(v) for v in values)
