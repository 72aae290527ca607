"""What AlpaSim's driver hands to a trajectory model, by name and shape: the newer version, and the one before it."""

from dataclasses import dataclass
from enum import IntEnum
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

T0_US = 42_000_000
RIG_IN_LOCAL = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # at t0: its x is the local frame's y
PLACE_M = np.array([300.0, -40.0, 2.0])


class DriveCommand(IntEnum):
    LEFT = 0
    STRAIGHT = 1
    RIGHT = 2
    UNKNOWN = 3


class CameraFrame(NamedTuple):
    timestamp_us: int
    image: Any  # uint8 (height, width, 3)


@dataclass
class OlderPredictionInput:
    camera_images: dict[str, list[CameraFrame]]
    command: DriveCommand
    speed: float
    acceleration: float
    ego_pose_history: list[Any]


@dataclass
class PredictionInput(OlderPredictionInput):
    inference_seed: int
    previous_plan: Any | None
    route: Any | None


@dataclass
class ModelConfig:
    checkpoint_path: str
    model_type: str = "alpamayo_server"
    device: str = "cuda"
    num_trajectory_samples: int = 1
    trajectory_selection: Any = None


def camera_images(frames: np.ndarray, cameras: list[str]) -> dict[str, list[CameraFrame]]:
    """(cameras, frames, 3, height, width), the last frames at t0."""
    return {
        name: [
            CameraFrame(T0_US - 100_000 * (len(camera) - 1 - i), np.moveaxis(frame, 0, -1))
            for i, frame in enumerate(camera)
        ]
        for name, camera in zip(cameras, frames, strict=True)
    }


def pose_history(xyz: np.ndarray, rot: np.ndarray) -> list[Any]:
    """PoseAtTime in the local frame, of a history (16, 3), (16, 3, 3) in the rig frame at t0."""
    places, rotations = xyz @ RIG_IN_LOCAL.T + PLACE_M, RIG_IN_LOCAL @ rot
    return [_pose_at_time(T0_US - 100_000 * (15 - i), places[i], rotations[i]) for i in range(16)]


def _pose_at_time(timestamp_us: int, xyz: np.ndarray, rotation: np.ndarray) -> Any:
    w = np.sqrt(1 + np.trace(rotation)) / 2  # none of the tests' cars turns round
    x, y, z = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    ) / (4 * w)
    vec, quat = SimpleNamespace(x=xyz[0], y=xyz[1], z=xyz[2]), SimpleNamespace(w=w, x=x, y=y, z=z)
    return SimpleNamespace(timestamp_us=timestamp_us, pose=SimpleNamespace(vec=vec, quat=quat))
