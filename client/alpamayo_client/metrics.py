"""How far predictions are from what was driven."""

import numpy as np
from numpy.typing import ArrayLike

from .checks import check_future


def min_ade(pred_xyz: ArrayLike, ego_future_xyz: ArrayLike) -> float:
    """minADE@K in metres, K = samples: what the best of a set's K trajectories misses on average over 6.4 s.

    `pred_xyz`: (1, sets, samples, 64, 3) metres; `ego_future_xyz`: (64, 3) metres, in the same frame and at the same
    times. Distances are taken in x and y, averaged over waypoints, minimal over samples, averaged over sets.
    Raises InvalidRequestError if the future is not (64, 3) finite numbers.
    """
    predicted = np.asarray(pred_xyz, dtype=np.float64)
    driven = check_future(ego_future_xyz).astype(np.float64)
    distances = np.linalg.norm(predicted[..., :2] - driven[:, :2], axis=-1)  # 1, sets, samples, 64
    return float(distances.mean(axis=-1).min(axis=-1).mean())
