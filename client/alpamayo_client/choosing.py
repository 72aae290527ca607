"""From K trajectories to the ones that matter: a single bad sample is outvoted by the others.

All sets and samples of an answer count alike, K together; a trajectory is named by its index, (set, sample). The
distance of two trajectories is the mean of their distances in x and y at the same time, over 6.4 s, in metres: the ADE
of one against the other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_float, check_trajectories
from .errors import InvalidRequestError

Index = tuple[int, int]
"""(set, sample)."""


@dataclass(frozen=True)
class Mode:
    """Trajectories that go about the same way."""

    indices: tuple[Index, ...]
    """Which, in the answer's order."""
    share: float
    """Of all trajectories, 0 .. 1."""
    medoid: Index
    """The one in the middle of them."""
    thoughts: tuple[str, ...]
    """Their thoughts, each once, the most frequent first."""


def medoid(pred_xyz: ArrayLike) -> Index:
    """The trajectory with the smallest mean distance to all others; of several, the first.

    `pred_xyz`: (1, sets, samples, 64, 3) metres. Raises InvalidRequestError for another shape or numbers that are not
    finite.
    """
    xyz = check_trajectories("pred_xyz", pred_xyz, 3)
    return _index(int(_middle(distances_m(xyz))), xyz.shape[2])


def modes(pred_xyz: ArrayLike, cot: NDArray[np.object_], threshold_m: float) -> tuple[Mode, ...]:
    """Clusters, the largest first; of two as large, the one with the earlier trajectory.

    The two nearest clusters become one, again and again, as long as no two trajectories in it are further apart than
    `threshold_m` metres (complete linkage): a row of small steps does not make one mode of a left and a right turn.

    `pred_xyz`: (1, sets, samples, 64, 3) metres; `cot`: (1, sets, samples) of str. Raises InvalidRequestError for
    another shape, numbers that are not finite, or a threshold that is not above zero and finite.
    """
    limit_m = check_float("threshold_m", threshold_m)
    if not 0 < limit_m < np.inf:
        raise InvalidRequestError(f"threshold_m: got {threshold_m}, wanted metres above zero")
    xyz = check_trajectories("pred_xyz", pred_xyz, 3)
    apart_m, samples = distances_m(xyz), xyz.shape[2]
    clusters = sorted(_clusters(apart_m, limit_m), key=lambda cluster: (-len(cluster), cluster[0]))
    return tuple(
        Mode(
            indices=tuple(_index(i, samples) for i in cluster),
            share=len(cluster) / len(apart_m),
            medoid=_index(cluster[_middle(apart_m[np.ix_(cluster, cluster)])], samples),
            thoughts=_most_frequent_first([str(cot.flat[i]) for i in cluster]),
        )
        for cluster in clusters
    )


def spread_m(pred_xyz: ArrayLike) -> NDArray[np.float64]:
    """(64,) metres: at each waypoint's time, the root of the mean squared distance in x and y from the mean position.

    `pred_xyz`: (1, sets, samples, 64, 3) metres. Raises InvalidRequestError for another shape or numbers that are not
    finite.
    """
    xy = _flat_xy(check_trajectories("pred_xyz", pred_xyz, 3))
    variance: NDArray[np.float64] = ((xy - xy.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0)
    return np.sqrt(variance)


def distances_m(pred_xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """(K, K) metres between any two trajectories (1, sets, samples, 64, 3), K = sets x samples, set after set."""
    xy = _flat_xy(pred_xyz)
    rows = [np.linalg.norm(xy - one, axis=-1).mean(axis=-1) for one in xy]  # a row at a time: K may be large
    return np.array(rows)


def _flat_xy(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    return xyz.reshape(-1, *xyz.shape[3:])[..., :2].astype(np.float64)


def _middle(apart_m: NDArray[np.float64]) -> int:
    # Rounded: which of two mirror images is nearer to all others must not hang on the last bit.
    return int(apart_m.mean(axis=1).round(9).argmin())


def _clusters(apart_m: NDArray[np.float64], limit_m: float) -> list[list[int]]:
    """Each in ascending order."""
    clusters = [[i] for i in range(len(apart_m))]
    between = apart_m.copy()  # of two clusters: the largest distance between a trajectory of one and one of the other
    np.fill_diagonal(between, np.inf)
    while len(clusters) > 1:
        i, j = sorted(int(k) for k in np.unravel_index(between.argmin(), between.shape))
        if between[i, j] > limit_m:
            break
        clusters[i] = sorted(clusters[i] + clusters.pop(j))
        between[i] = between[:, i] = np.maximum(between[i], between[j])
        between = np.delete(np.delete(between, j, axis=0), j, axis=1)
    return clusters


def _most_frequent_first(thoughts: list[str]) -> tuple[str, ...]:
    first_seen = dict.fromkeys(thoughts)
    return tuple(sorted(first_seen, key=lambda thought: -thoughts.count(thought)))  # stable


def _index(i: int, samples: int) -> Index:
    return i // samples, i % samples
