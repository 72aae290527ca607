"""Requests that are good, ways to spoil them, and what a refusal is."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from .golden_case import golden_case
from .wire import ask, files, picture, texts

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 1, 3, 64, 96), dtype=np.uint8)
FRAME = PIXELS[0, 0]
GOOD = golden_case("greedy").inputs | {"image_frames": PIXELS}
XYZ, ROT = GOOD["ego_history_xyz"], GOOD["ego_history_rot"]
NOISE = np.zeros((1, 64, 2), np.float32)
PNG, JPEG = picture(FRAME), picture(FRAME, "JPEG")


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def rotated(degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)


def encoded(*frames):
    return {"image_frames": None, "encoded_frames": files(*frames)}


def refuse(triton, words, inputs, parameters=None, **model):
    with pytest.raises(InferenceServerException) as refusal:
        ask(triton, inputs, parameters, **model)
    assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT", refusal.value
    missing = [word for word in words if word not in refusal.value.message()]
    assert not missing, (missing, refusal.value.message())


def int32(*values):
    return np.array(values, np.int32)


PACKED = {
    "kv_cache": np.zeros((4, 2, 2, 40, 16), np.float32),
    "kv_owner": int32(*[-1] * 30, *[0] * 5, *[1] * 5),
    "action_owner": int32(0, 1),
    "action_position": int32(35, 35),
    "noise": np.zeros((2, 64, 2), np.float32),
}
ACTIONS = {
    "normalized_action": np.zeros((6, 64, 2), np.float32),
    "action_owner": int32(0, 1, 2, 0, 1, 2),
    "ego_history_xyz": XYZ,
    "ego_history_rot": ROT,
}
GIVEN_UP = {"request_id": texts(b"1b4e28ba-2fa1-11d2-883f-0016d3cca427")}
