"""Fresh inputs, all from one seed: scenes, packed sequences, actions."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from alpamayo_model_repository.contract import HISTORY_POSES, NO_OWNER, PROMPT_OWNER, WAYPOINTS
from denoiser.request import DenoiserRequest

DT = 0.1  # s between poses


@dataclass(frozen=True)
class History:
    """A valid ego history, as it comes over the wire: (16, 3) metres, (16, 3, 3)."""

    xyz: npt.NDArray[np.float32]
    rot: npt.NDArray[np.float32]


def random_history(rng: np.random.Generator) -> History:
    """A drive of changing speed, curvature and slope that ends in the origin, along x."""
    speed = rng.uniform(2, 25) + np.cumsum(rng.uniform(-0.3, 0.3, HISTORY_POSES))
    yaw = np.cumsum(rng.uniform(-0.03, 0.03) + rng.uniform(-0.01, 0.01, HISTORY_POSES))
    yaw -= yaw[-1]
    climb = rng.uniform(-0.1, 0.1)
    velocity = speed[:, None] * np.stack([np.cos(yaw), np.sin(yaw), np.full(HISTORY_POSES, climb)], axis=1)
    steps = (velocity[:-1] + velocity[1:]) * DT / 2
    xyz = np.concatenate([-np.cumsum(steps[::-1], axis=0)[::-1], np.zeros((1, 3))])
    rot = np.tile(np.eye(3), (HISTORY_POSES, 1, 1))
    rot[:, :2, :2] = np.stack([np.cos(yaw), -np.sin(yaw), np.sin(yaw), np.cos(yaw)], axis=1).reshape(-1, 2, 2)
    return History(xyz.astype(np.float32), rot.astype(np.float32))


def random_image(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """(3, height, width), RGB: noise, too grey for a resized one to be clipped, for which Pillow and torch differ."""
    return rng.integers(64, 192, (3, height, width), dtype=np.uint8)


def random_packed(
    rng: np.random.Generator, kv_shape: tuple[int, int, int], dtype: torch.dtype, tokens: int, trajectories: int
) -> DenoiserRequest:
    """A prompt, a thought for each trajectory, rows of nobody, all mixed; `kv_shape`: layers, kv_heads, head_dim."""
    layers, kv_heads, head_dim = kv_shape
    owner = rng.integers(NO_OWNER, trajectories, tokens, dtype=np.int32)
    owner[: -(-tokens // 2)] = PROMPT_OWNER
    kv_cache = rng.standard_normal((layers, 2, kv_heads, tokens, head_dim), dtype=np.float32)
    return DenoiserRequest(
        torch.from_numpy(kv_cache).to(dtype),
        torch.from_numpy(rng.permutation(owner)),
        torch.from_numpy(rng.permutation(trajectories).astype(np.int32)),
        torch.from_numpy(rng.integers(0, 2 * tokens, trajectories, dtype=np.int32)),
        torch.from_numpy(rng.standard_normal((trajectories, WAYPOINTS, 2), dtype=np.float32)),
    )
