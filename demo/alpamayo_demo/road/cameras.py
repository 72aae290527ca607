"""The contract's four cameras: ideal pinholes on the car."""

from dataclasses import dataclass
from functools import cached_property
from math import cos, radians, sin, tan

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

HEIGHT_PX, WIDTH_PX = 96, 160


@dataclass(frozen=True)
class Camera:
    """Position in the ego frame in metres; yaw to the left, pitch downwards; square pixels."""

    name: str
    position: tuple[float, float, float]
    yaw_deg: float
    pitch_deg: float
    horizontal_fov_deg: float

    @property
    def focal_px(self) -> float:
        """Pixels."""
        return WIDTH_PX / 2 / tan(radians(self.horizontal_fov_deg) / 2)

    @cached_property
    def ego_to_camera(self) -> Array:
        """(3, 3): rows are the camera's right, down and forward, in the ego frame."""
        yaw, pitch = radians(self.yaw_deg), radians(self.pitch_deg)
        forward = (cos(pitch) * cos(yaw), cos(pitch) * sin(yaw), -sin(pitch))
        right = (sin(yaw), -cos(yaw), 0.0)
        return np.array([right, np.cross(forward, right), forward])

    def to_camera(self, xyz: ArrayLike) -> Array:
        """Points (..., 3) of the ego frame as right, down, forward, in metres."""
        return (np.asarray(xyz, dtype=np.float64) - self.position) @ self.ego_to_camera.T

    def project(self, xyz: ArrayLike) -> Array:
        """Points (..., 3) of the ego frame to (..., 2): column, row; NaN behind the camera.

        The image's left upper corner is (0, 0), the middle of its first pixel (0.5, 0.5).
        """
        return self.to_pixels(self.to_camera(xyz))

    def to_pixels(self, in_camera: Array) -> Array:
        """Points (..., 3) right, down, forward to (..., 2): column, row."""
        forward = np.where(in_camera[..., 2:] > 1e-6, in_camera[..., 2:], np.nan)
        centre: Array = np.array([WIDTH_PX / 2, HEIGHT_PX / 2])
        return self.focal_px * in_camera[..., :2] / forward + centre

    def rays(self, columns: Array, rows: Array) -> Array:
        """(rows, columns, 3): directions in the ego frame, of the pixels at `columns` (n,) and `rows` (m,)."""
        right, down = np.meshgrid((columns - WIDTH_PX / 2) / self.focal_px, (rows - HEIGHT_PX / 2) / self.focal_px)
        return np.stack([right, down, np.ones_like(right)], axis=-1) @ self.ego_to_camera


CROSS_LEFT = Camera("cross left", (1.2, 0.8, 1.5), 55.0, 8.0, 120.0)
FRONT_WIDE = Camera("front wide", (1.5, 0.0, 1.5), 0.0, 8.0, 120.0)
CROSS_RIGHT = Camera("cross right", (1.2, -0.8, 1.5), -55.0, 8.0, 120.0)
FRONT_TELE = Camera("front tele", (1.5, 0.0, 1.5), 0.0, 0.0, 30.0)
CAMERAS = (CROSS_LEFT, FRONT_WIDE, CROSS_RIGHT, FRONT_TELE)
