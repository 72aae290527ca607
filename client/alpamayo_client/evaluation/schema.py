"""What is in the results of an evaluation: one definition for the rows, the files and what is made of them."""

from dataclasses import fields

from ..extras import extra
from ..metrics import HORIZONS_S, Comfort

try:
    import pyarrow as pa
except ImportError as error:
    raise ImportError(f"results need more packages ({error}): {extra('evaluate')}") from error

MIN_ADE_COLUMNS = {horizon_s: f"min_ade_{horizon_s:g}s_m" for horizon_s in HORIZONS_S}
WHOLE_MIN_ADE_COLUMN = MIN_ADE_COLUMNS[HORIZONS_S[-1]]
COMFORT_COLUMNS = tuple(field.name for field in fields(Comfort))
_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("scene_id", pa.string(), "the file's name without .npz, or the clip's id"),
    ("t0_us", pa.int64(), "microseconds of the clip's clock; null for a file"),
    ("fingerprint", pa.string(), "of the file's arrays, or the dataset's revision: whether a scene is still the same"),
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
