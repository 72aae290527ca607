"""What would the model do if it thought otherwise? Its own thought and given ones, in one request."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .aio import AsyncAlpamayoClient
from .checks import WAYPOINTS, check_int, check_reasoning
from .choosing import distances_m
from .client import AlpamayoClient
from .errors import InvalidRequestError
from .prediction import Prediction
from .scene import Scene

MAX_SEED = 2**53 - 1  # the contract's


@dataclass(frozen=True, eq=False)
class Comparison:
    """One scene under n thoughts: the model's own, and those that were given, in that order.

    Every thought is driven from the same noise: what differs between two outcomes is the thought's doing.
    """

    scene: Scene
    prediction: Prediction
    """Sample 0 has the model's own thought, sample i the i-th given one; `pred_xyz` is (1, sets, n, 64, 3) metres."""

    @property
    def thoughts(self) -> tuple[str, ...]:
        """The n thoughts; the first is the model's own."""
        return tuple(self.prediction.cot[0, 0])

    @property
    def distances_m(self) -> NDArray[np.float64]:
        """(n, n) metres between the outcomes of two thoughts: on the mean over 6.4 s, in x and y, and over the sets."""
        sets = self.prediction.pred_xyz[0]
        return np.mean([distances_m(xyz[None, None]) for xyz in sets], axis=0)

    def save_picture(self, path: str | Path) -> None:
        """Trajectories from above, speeds, the distances, the thoughts; the format is what the name ends in, as .png.

        Needs the extra `cli`. Raises InvalidRequestError for an ending that is no format, OSError.
        """
        from .comparison_plot import save_picture

        save_picture(path, self)


def compare(
    client: AlpamayoClient,
    scene: Scene,
    thoughts: Sequence[str],
    *,
    num_traj_sets: int = 1,
    seed: int | None = None,
    **parameters: Any,
) -> Comparison:
    """Ask how the scene goes on with the model's own thought and with each of `thoughts`, all in one request.

    thoughts: at least one; plain text, empty allowed, each of at most 256 tokens (or the repository's limit).
    num_traj_sets: trajectories per thought, each from a noise of its own that all thoughts share.
    seed: of the own thought and of the noise, 0 .. 2^53 - 1; None: drawn, see `prediction.seed`.
    parameters: others of `predict`, such as `temperature` (of the own thought), `timeout_s` or `priority`.

    Raises what `predict` raises; InvalidRequestError for a parameter that follows from the thoughts.
    """
    return Comparison(scene, client.predict(scene, **_arguments(thoughts, num_traj_sets, seed, parameters)))


async def compare_async(
    client: AsyncAlpamayoClient,
    scene: Scene,
    thoughts: Sequence[str],
    *,
    num_traj_sets: int = 1,
    seed: int | None = None,
    **parameters: Any,
) -> Comparison:
    """See `compare`."""
    return Comparison(scene, await client.predict(scene, **_arguments(thoughts, num_traj_sets, seed, parameters)))


def _arguments(thoughts: Sequence[str], sets: int, seed: int | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    samples = 1 + len(check_reasoning(thoughts, "thoughts"))
    if check_int("num_traj_sets", sets) < 1:
        raise InvalidRequestError(f"num_traj_sets: got {sets}, wanted at least 1")
    seed = secrets.randbelow(MAX_SEED + 1) if seed is None else check_int("seed", seed)
    if not 0 <= seed <= MAX_SEED:
        raise InvalidRequestError(f"seed: got {seed}, wanted 0 .. {MAX_SEED}")
    noise = np.random.default_rng(seed).standard_normal((sets, 1, WAYPOINTS, 2), dtype=np.float32)
    own = {
        "reasoning": thoughts,
        "num_traj_samples": samples,
        "num_traj_sets": sets,
        "noise": noise.repeat(samples, axis=1).reshape(-1, WAYPOINTS, 2),
        "seed": seed,
    }
    if twice := sorted(own.keys() & parameters):
        raise InvalidRequestError(f"{', '.join(twice)}: compare sets it by itself: leave it out")
    return {**own, **parameters}
