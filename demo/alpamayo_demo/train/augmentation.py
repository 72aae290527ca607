"""Scenes changed so that what they teach stays right, or nearly: more to learn from than was rendered."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alpamayo_demo.road.ego import DT_S
from alpamayo_demo.road.situations import Situation

from .scenes_on_disk import Arrays

MIRRORED = 0.5  # of the scenes
BRIGHTNESS, GRAIN = 0.15, 0.02
FALSE_HISTORIES, FALSE_CURVATURE, FALSE_ACCEL = 0.8, 0.012, 1.2  # share of the scenes; standard deviations, 1/m, m/s2

_SIDES = (
    {Situation.CURVE_LEFT, Situation.CURVE_RIGHT},
    {Situation.CONES_LEFT, Situation.CONES_RIGHT},
    {Situation.LANE_CLOSED_LEFT, Situation.LANE_CLOSED_RIGHT},
)


def mirrored(random: np.random.Generator, scenes: Arrays) -> Arrays:
    """Some of the scenes with left and right exchanged. The road allows it: two lanes of the same direction, lamps and
    signs on both sides, pedestrians from either, and cameras that look straight ahead. Only the letters of a stop sign
    are mirror-inverted.
    """
    chosen = random.random(len(scenes["situation"])) < MIRRORED
    scenes = {name: array.copy() for name, array in scenes.items()}
    scenes["image_frames"][chosen] = scenes["image_frames"][chosen][..., ::-1]
    scenes["ego_history_xyz"][chosen, :, 1] *= -1
    for action in ("action", "other_action"):
        scenes[action][chosen, ..., 1] *= -1  # curvature
    for situation in ("situation", "other_situation"):
        scenes[situation][chosen] = _OPPOSITE[scenes[situation][chosen]]
    return scenes


def _opposite(situation: Situation) -> Situation:
    for pair in _SIDES:
        if situation in pair:
            return (pair - {situation}).pop()
    return situation


_OPPOSITE = np.array([list(Situation).index(_opposite(situation)) for situation in Situation])


def falsified(random: np.random.Generator, ego_history_xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Most histories bent and stretched, with the speed and the heading at t0 left as they are: an augmentation.

    Who drives as the driver does has braked and steered already, so what comes next could be read off the history
    without a look at the road; in closed loop, such a model goes on with its own mistakes (causal confusion, de Haan
    et al., 2019).
    """
    scenes = len(ego_history_xyz)
    xyz = ego_history_xyz.copy()
    way = -xyz[:, :1, 0]  # (scenes, 1) metres, from the first pose to t0
    false = (random.random((scenes, 1)) < FALSE_HISTORIES) & (way > 0.5)  # who has stood all the time has stood
    curvature = np.where(false, random.normal(0, FALSE_CURVATURE, (scenes, 1)), 0)
    seconds = DT_S * np.arange(1 - xyz.shape[1], 1)
    most = way / seconds[0] ** 2  # half the way: at a steady speed, it would not go backwards
    accel = np.where(false, np.clip(random.normal(0, FALSE_ACCEL, (scenes, 1)), -most, most), 0)
    xyz[:, :, 1] += curvature * xyz[:, :, 0] ** 2 / 2
    xyz[:, :, 0] += accel * seconds**2 / 2
    return xyz


def varied(patches: Tensor, noise: torch.Generator) -> Tensor:
    """Another brightness for every scene, and grain: no scene is learnt by heart."""
    gain = 1 + BRIGHTNESS * (2 * torch.rand(len(patches), 1, 1, 1, generator=noise) - 1)
    patches = (patches + 1) * gain - 1
    return patches.add_(torch.randn(patches.shape, generator=noise), alpha=GRAIN)
