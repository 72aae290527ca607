"""The answer: trajectories and the reasoning behind them."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tritonclient.grpc import InferResult

from . import choosing
from .checks import WAYPOINTS
from .choosing import Index, Mode
from .errors import InvalidRequestError, ServerError
from .rigid import check_rigid
from .scene import Scene

WAYPOINTS_PER_S = 10


@dataclass(frozen=True, eq=False)
class Prediction:
    """`sets` x `samples` trajectories. Trajectories of one sample follow the same thought, whatever their set.

    Frame: the ego frame at t0; x forward, y left, z up.
    """

    pred_xyz: NDArray[np.float32]
    """(1, sets, samples, 64, 3) metres, at `timestamps_s`."""
    pred_rot: NDArray[np.float32]
    """(1, sets, samples, 64, 3, 3): from the ego frame at each waypoint to the ego frame at t0."""
    cot: NDArray[np.object_]
    """(1, sets, samples) of str: the chains of causation, the same in every set."""
    action: NDArray[np.float32]
    """(1, sets, samples, 64, 2): acceleration in m/s2 and curvature in 1/m that lead to each waypoint."""
    within_bounds: NDArray[np.bool_]
    """(1, sets, samples): every action is inside the checkpoint's bounds."""
    reasoning_complete: NDArray[np.bool_]
    """(1, sets, samples): the thought ended by itself; false: it was cut off at `max_generation_length`."""
    seed: int
    """Asks for the same answer again on the same server."""
    denoiser_runner: str
    """What ran the denoising step, as the server chose at its start; another may differ slightly for the same seed."""
    t0_us: int | None = None
    """The scene's, if it knew: microseconds of its own clock."""
    ego_to_world: NDArray[np.float64] | None = None
    """The scene's, if it knew: (4, 4), from the ego frame at t0 to its world frame, metres."""

    @property
    def timestamps_s(self) -> NDArray[np.float64]:
        """(64,) seconds after t0: 0.1 .. 6.4."""
        return np.arange(1, WAYPOINTS + 1) / WAYPOINTS_PER_S

    @property
    def spread_m(self) -> NDArray[np.float64]:
        """(64,) metres: how far apart the trajectories are over time (root mean square from their mean, in x and y)."""
        return choosing.spread_m(self.pred_xyz)

    def medoid(self) -> Index:
        """(set, sample) of the trajectory that is nearest to all others, which outvote a single bad one."""
        return choosing.medoid(self.pred_xyz)

    def modes(self, threshold_m: float) -> tuple[Mode, ...]:
        """The different ways to go, the most frequent first. See `choosing.modes`.

        In a mode no two trajectories are further apart than `threshold_m`, on the mean over 6.4 s. Raises
        InvalidRequestError if that is not above zero.
        """
        return choosing.modes(self.pred_xyz, self.cot, threshold_m)

    @property
    def timestamps_us(self) -> NDArray[np.int64]:
        """(64,) microseconds of the scene's clock. Raises InvalidRequestError if the scene had no `t0_us`."""
        if self.t0_us is None:
            raise InvalidRequestError(
                "timestamps_us: this prediction's scene had no t0_us; timestamps_s counts from t0"
            )
        return self.t0_us + np.arange(1, WAYPOINTS + 1, dtype=np.int64) * (1_000_000 // WAYPOINTS_PER_S)

    def to_world(self, ego_to_world: ArrayLike | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`pred_xyz` and `pred_rot` in another frame, in float64.

        `ego_to_world`: (4, 4) rigid transform from the ego frame at t0 to that frame, metres, translation in the last
        column; None: the scene's own. Raises InvalidRequestError if it is not one, or the scene had none.
        """
        if ego_to_world is None:
            ego_to_world = self.ego_to_world
        if ego_to_world is None:
            raise InvalidRequestError("ego_to_world: this prediction's scene had none, wanted the (4, 4) pose at t0")
        transform = check_rigid("ego_to_world", ego_to_world)
        rotation, translation = transform[:3, :3], transform[:3, 3]
        return self.pred_xyz.astype(np.float64) @ rotation.T + translation, rotation @ self.pred_rot.astype(np.float64)

    def save(self, path: str | Path) -> None:
        """Write every field that is known, and `timestamps_s`, as an `.npz` that needs no pickle.

        `cot` becomes a str array.
        """
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: value for name, value in known.items() if value is not None}
        np.savez_compressed(path, **{**arrays, "cot": self.cot.astype(np.str_), "timestamps_s": self.timestamps_s})


OUTPUTS = tuple(field.name for field in fields(Prediction) if field.name not in ("t0_us", "ego_to_world"))


def parse_response(result: InferResult, scene: Scene | None = None) -> Prediction:
    """`scene`: what was asked about, for its t0. Raises ServerError if the answer is not the contract's."""
    arrays = {name: result.as_numpy(name) for name in OUTPUTS}
    missing = sorted(name for name, array in arrays.items() if array is None)
    if missing:
        raise ServerError(f"the answer lacks {missing}: is this an Alpamayo server?")
    _check_shapes(arrays)
    decoded = [text.decode("utf-8", errors="replace") for text in arrays["cot"].flat]
    others = ("cot", "seed", "denoiser_runner")
    return Prediction(
        **{name: array.copy() for name, array in arrays.items() if name not in others},  # writable
        cot=np.array(decoded, dtype=np.object_).reshape(arrays["cot"].shape),
        seed=int(arrays["seed"][0]),
        denoiser_runner=arrays["denoiser_runner"][0].decode("utf-8", errors="replace"),
        t0_us=None if scene is None or scene.t0_us is None else int(scene.t0_us),
        ego_to_world=None
        if scene is None or scene.ego_to_world is None
        else check_rigid("ego_to_world", scene.ego_to_world),
    )


def _check_shapes(arrays: dict[str, NDArray[Any]]) -> None:
    trajectories = arrays["pred_xyz"].shape[:3]  # 1, sets, samples
    wanted: dict[str, tuple[int, ...]] = {
        "pred_xyz": (WAYPOINTS, 3),
        "pred_rot": (WAYPOINTS, 3, 3),
        "cot": (),
        "action": (WAYPOINTS, 2),
        "within_bounds": (),
        "reasoning_complete": (),
    }
    for name, rest in wanted.items():
        if arrays[name].shape != trajectories + rest:
            raise ServerError(f"the answer's {name} has shape {arrays[name].shape}, wanted {trajectories + rest}")
    for name in ("seed", "denoiser_runner"):
        if arrays[name].shape != (1,):
            raise ServerError(f"the answer's {name} has shape {arrays[name].shape}, wanted (1,)")
