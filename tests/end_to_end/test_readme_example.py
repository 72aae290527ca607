"""The README's Python, run in its order, in one namespace."""

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
import rerun as rr
from alpamayo_client import NoPlanError
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def names(server, tmp_path_factory):
    """What the blocks have defined after the last, and what each printed."""
    folder, namespace, printed = tmp_path_factory.mktemp("readme"), {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in BLOCKS:
            lines = []
            namespace["print"] = lambda *words, lines=lines: lines.append(" ".join(map(str, words)))
            block = block.replace("localhost:8001", server.grpc)
            block = block.replace("timeout_s=30", "timeout_s=300")  # this server babbles, and others may be at work
            exec(compile(block, "README.md", "exec"), namespace)
            printed.append(lines)
    return namespace | {"printed": printed, "folder": folder}


def test_a_request(names):
    assert len([line for line in names["printed"][0] if "m after 6.4 s" in line]) == 6
    assert names["xyz"].shape == (1, 1, 6, 64, 3)
    said = [float(number) for number in names["printed"][0][1].partition("]")[0][1:].split()]
    np.testing.assert_allclose(names["xyz"][0, 0, 0, -1], said, atol=1e-4)  # the identity: world = ego frame


def test_frames_are_smaller_for_the_model(names):
    assert names["small"].shape[:3] == (4, 4, 3)
    assert names["small"].shape != names["image_frames"].shape


def test_choosing(names):
    shares = [line for line in names["printed"][3] if "%" in line]
    assert shares
    assert names["printed"][3][-1].endswith("m apart after 1, 3 and 6.4 s")


def test_what_if(names):
    assert names["comparison"].thoughts[1:] == ("Slow down for the vehicle ahead.", "")
    assert (names["folder"] / "what_if.png").stat().st_size > 10_000


def test_looking(names):
    recorded = rr.dataframe.load_recording(names["folder"] / "drive.rrd")
    entities = {column.entity_path for column in recorded.schema().component_columns()}
    assert {"/cameras/3", "/world/ego/chosen", "/thoughts"} <= entities


def test_a_robot_drives(names, caplog):
    """Poses and frames of a car that drives straight on in the world, up to now and beyond."""
    file = io.BytesIO()
    Image.new("RGB", (96, 64)).save(file, "JPEG")
    names["on_frame"](names["buffer"].cameras[0], 0, b"no image")
    names["on_pose"](time.time_ns() // 1000 + 10**9, [0, 0, 0], [0, 0, 0, 1])
    assert [it[:18] for it in caplog.messages] == ["image: got 8 bytes", "pose: got timestam"]
    start_us = time.time_ns() // 1000 - 1_600_000
    for tenth in range(17):
        names["on_pose"](start_us + tenth * 100_000, [1e6 + tenth, 0, 0], [0, 0, 0, 1])
        for camera in names["buffer"].cameras:
            names["on_frame"](camera, start_us + tenth * 100_000, file.getvalue())
    # Of a slow machine at the usual length, the answer would be over before it is there.
    names["settings"].update(max_age_s=60.0, max_generation_length=2, inference_steps=1)
    followed, stopped = [], []

    def still_driving():
        assert time.time_ns() // 1000 < start_us + 60_000_000
        time.sleep(0.02)  # a controller's period: it must not take the processor from the server
        return len(followed) < 3

    names["drive"](still_driving, lambda xyz, yaw, speed: followed.append((xyz, yaw, speed)), stopped.append)
    assert all(isinstance(why, NoPlanError) for why in stopped)
    assert len(followed) == 3
    assert np.abs(followed[0][0] - [1e6 + 16, 0, 0]).max() < 100
