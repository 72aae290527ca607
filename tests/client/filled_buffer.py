"""A SceneBuffer, and what is pushed into one."""

import math

import numpy as np
import pytest
from alpamayo_client import NoSceneError, SceneBuffer

T0_US = 1_700_000_000_000_000
START = np.array([500_000.0, 5_400_000.0, 300.0])  # as UTM has it
VELOCITY_MPS = np.array([6.0, 8.0, 0.5])
TURN_RADPS = 0.4
MS = 1000


def file(text):
    """What passes for a JPEG file before it is opened."""
    return b"\xff\xd8\xff" + text.encode()


def yaw(angle):
    return np.array([0, 0, math.sin(angle / 2), math.cos(angle / 2)])


def push_poses(buffer, times_ms):
    """Straight on through the world while the ego frame turns: linear and slerp are exact."""
    for ms in times_ms:
        seconds = ms / 1000
        buffer.push_pose(T0_US + round(ms * MS), START + VELOCITY_MPS * seconds, yaw(1 + TURN_RADPS * seconds))


def push_frames(buffer, camera, times_ms):
    for ms in times_ms:
        buffer.push_frame(camera, T0_US + round(ms * MS), file(f"{camera} {ms}"))


def filmed(cameras=("left", "right"), **limits):
    """A buffer that lacks only poses."""
    buffer = SceneBuffer(cameras, **limits)
    for camera in cameras:
        push_frames(buffer, camera, range(-400, 1, 100))
    return buffer


def full(cameras=("left", "right"), **limits):
    buffer = filmed(cameras, **limits)
    push_poses(buffer, range(-1600, 1, 40))
    return buffer


def refusal(buffer, t0_us=None):
    with pytest.raises(NoSceneError) as error:
        buffer.scene(t0_us)
    return str(error.value)
