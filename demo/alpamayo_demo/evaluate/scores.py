"""From answers to numbers. Shapes are those of `alpamayo_client.metrics`, where the distances are defined."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from alpamayo_client.metrics import (
    Comfort,
    ade,
    ade_of_mean,
    comfort,
    min_ade,
    min_ade_by_horizon,
    min_fde,
    miss_rate,
)
from numpy.typing import ArrayLike, NDArray

from alpamayo_demo.errors import DemoError
from alpamayo_demo.road.situations import Situation, named

Scores = dict[str, float]

BACKWARDS_MPS = 0.1  # rounding aside, a car that stands may roll
OBEYED_APART_M = 1.0  # two futures nearer to each other than this do not tell which one was taken


def accuracy(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> Scores:
    """Of one scene, in metres; `missed` is 0 or 1.

    `min_ade_1_m` is minADE@1 as its expectation: the ADE of a single sample, averaged over all of them.
    """
    return {
        "min_ade_1_m": float(ade(pred_xyz, ego_future_xyz).mean()),
        "min_ade_m": min_ade(pred_xyz, ego_future_xyz),
        "ade_of_mean_m": ade_of_mean(pred_xyz, ego_future_xyz),
        "min_fde_m": min_fde(pred_xyz, ego_future_xyz),
        "missed": miss_rate(pred_xyz, ego_future_xyz),
    }


def by_horizon(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> Scores:
    """minADE@K of one scene in metres, by horizon: "0.5 s" .. "6.4 s"."""
    return {f"{seconds} s": metres for seconds, metres in min_ade_by_horizon(pred_xyz, ego_future_xyz).items()}


def reasoning(cot: NDArray[np.object_], reasoning_complete: NDArray[np.bool_], situation: Situation) -> Scores:
    """Shares of one scene's thoughts (1, sets, samples): those that name its situation, and those that are whole."""
    right = [named(str(thought)) is situation for thought in cot.flat]
    return {"right_situation": float(np.mean(right)), "reasoning_complete": float(reasoning_complete.mean())}


def mean(scores: Sequence[Scores]) -> Scores:
    """Over scenes, of at least one; all have the same names."""
    return {name: float(np.mean([scene[name] for scene in scores])) for name in scores[0]}


def mean_by_situation(scores: Sequence[Scores], situations: Sequence[Situation]) -> dict[str, Scores]:
    """`mean` over the scenes of each situation, by its name, in the situations' order."""
    found = {
        situation.name: [scene for scene, its in zip(scores, situations, strict=True) if its is situation]
        for situation in Situation
    }
    return {name: mean(scenes) for name, scenes in found.items() if scenes}


def comfort_of(driven: Iterable[tuple[ArrayLike, ArrayLike]]) -> dict[str, Scores]:
    """`mean` and `worst` over all trajectories of each extreme in `Comfort`; among the means `goes_backwards`, the
    share of those that do, and faster than BACKWARDS_MPS.

    Args:
        driven: `pred_xyz` and `action` of every scene, of at least one.
    """
    scenes = [asdict(comfort(pred_xyz, action)) for pred_xyz, action in driven]
    extremes: dict[str, Any] = {
        name: np.concatenate([scene[name].ravel() for scene in scenes]) for name in Comfort.__dataclass_fields__
    }
    return {
        "mean": {name: float(values.mean()) for name, values in extremes.items()}
        | {"goes_backwards": float((extremes["min_speed_mps"] < -BACKWARDS_MPS).mean())},
        "worst": {
            name: float(values.min() if name == "min_speed_mps" else values.max()) for name, values in extremes.items()
        },
    }


def frames_swapped(own_min_ade_m: Sequence[float], swapped_min_ade_m: Sequence[float]) -> Scores:
    """What looking is worth: minADE@K in metres with a scene's own frames and with another's, and their ratio."""
    own, swapped = float(np.mean(own_min_ade_m)), float(np.mean(swapped_min_ade_m))
    return {"own_min_ade_m": own, "swapped_min_ade_m": swapped, "ratio": swapped / own}


def thought_given(
    pred_xyz: Sequence[ArrayLike], own_future_xyz: Sequence[ArrayLike], given_future_xyz: Sequence[ArrayLike]
) -> Scores:
    """What a given thought is worth: is the mean of a scene's samples nearer to where that thought leads?

    Only scenes count whose two futures, each (64, 3), are more than OBEYED_APART_M of ADE apart. `obeyed` is the share
    of them, `to_given_m` and `to_own_m` the ADE of the mean trajectory.

    Raises:
        DemoError: no scene counts.
    """
    found = [
        (ade_of_mean(predicted, given), ade_of_mean(predicted, own))
        for predicted, own, given in zip(pred_xyz, own_future_xyz, given_future_xyz, strict=True)
        if ade_of_mean(np.asarray(given)[None, None, None], own) > OBEYED_APART_M
    ]
    if not found:
        raise DemoError(f"no scene's given thought leads more than {OBEYED_APART_M} m away from its own")
    to_given, to_own = np.array(found).T
    return {
        "counted": len(found),
        "obeyed": float((to_given < to_own).mean()),
        "to_given_m": float(to_given.mean()),
        "to_own_m": float(to_own.mean()),
    }
