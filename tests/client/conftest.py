import io

import numpy as np
import PIL.Image
import pytest
from alpamayo_client import Scene
from little_triton import SPEED_MPS, LittleTriton


@pytest.fixture
def frames():
    """2 cameras, 3 frames, each of its own grey."""
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * 40
    return np.broadcast_to(grey, (2, 3, 3, 32, 48)).copy()


@pytest.fixture
def encoded(frames):
    return [[encode(frame) for frame in camera] for camera in frames]


@pytest.fixture
def history():
    """Straight on at 9 m/s."""
    xyz = np.zeros((16, 3))
    xyz[:, 0] = SPEED_MPS * 0.1 * np.arange(-15, 1)
    return xyz, np.broadcast_to(np.eye(3), (16, 3, 3)).copy()


@pytest.fixture
def future():
    xyz = np.zeros((64, 3))
    xyz[:, 0] = SPEED_MPS * 0.1 * np.arange(1, 65)
    return xyz


@pytest.fixture
def scene(encoded, history, future):
    return Scene(encoded, *history, future)


@pytest.fixture
def triton():
    server = LittleTriton()
    yield server
    server.stop()


def encode(frame):
    """(3, height, width) as a PNG file."""
    file = io.BytesIO()
    PIL.Image.fromarray(frame.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()
