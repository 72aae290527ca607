"""What the benchmarks show a server: the golden scene, or one that is made up in the size that cameras have."""

from dataclasses import dataclass

import numpy as np
from alpamayo_client import encode_jpeg
from alpamayo_demo.served import ROOT
from numpy.typing import NDArray
from safetensors.torch import load_file

GOLDEN = ROOT / "tests" / "golden"
JPEG_QUALITY = 90
SPEED_MPS = 10.0


@dataclass(frozen=True, eq=False)
class Scene:
    """The ensemble's inputs.

    Attributes:
        name: as results name it.
        frames: uint8 RGB (cameras, frames, 3, height, width).
        ego_history_xyz: float32 (16, 3), metres, ego frame at t0, 10 Hz.
        ego_history_rot: float32 (16, 3, 3).
    """

    name: str
    frames: NDArray[np.uint8]
    ego_history_xyz: NDArray[np.float32]
    ego_history_rot: NDArray[np.float32]


def golden_scene() -> Scene:
    """16 frames of 208 x 120 pixels; the golden checkpoint, greedy, thinks nine tokens about them."""
    vectors = load_file(GOLDEN / "greedy" / "vectors.safetensors")
    xyz, rot = (vectors[f"ego_history_{name}"].numpy()[0, 0] for name in ("xyz", "rot"))
    return Scene("tests/golden/greedy", vectors["frames"].numpy(), xyz, rot)


def made_up_scene(height: int = 1080, width: int = 1920) -> Scene:
    """4 cameras x 4 frames of gradients under noise, the same each time; straight ahead at 10 m/s."""
    random = np.random.default_rng(0)
    columns, rows = np.linspace(0, 127, width), np.linspace(0, 127, height)[:, None]
    gradient = np.stack([columns + rows, 254 - columns - rows, columns + rows[::-1]])
    frames = np.empty((4, 4, 3, height, width), np.uint8)
    for frame in frames.reshape(-1, 3, height, width):
        frame[:] = (gradient + random.normal(0, 10, gradient.shape)).clip(0, 255)
    xyz = np.zeros((16, 3), np.float32)
    xyz[:, 0] = SPEED_MPS * np.linspace(-1.5, 0, 16)
    return Scene("made up: gradients under noise", frames, xyz, np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)))


def as_jpeg(frames: NDArray[np.uint8]) -> list[list[bytes]]:
    """(cameras, frames, 3, height, width) as JPEG files, [camera][frame]."""
    return encode_jpeg(frames, JPEG_QUALITY)
