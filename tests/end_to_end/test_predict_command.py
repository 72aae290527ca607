"""`alpamayo predict`, as a process of its own, against the running server."""

import json
import re
import socket
import subprocess

import numpy as np
import pytest
from alpamayo_client import Scene
from PIL import Image

from .golden_case import golden_case
from .live_server import SCRIPTS

CASE = golden_case("sampled")
ASKED = {"num_traj_samples": 2, "max_generation_length": 8, "seed": 9}


def alpamayo(*arguments):
    command = [SCRIPTS / "alpamayo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module")
def prediction(client):
    return client.predict(*CASE.scene, **ASKED)


@pytest.fixture(scope="module")
def scene(prediction, tmp_path_factory):
    """The golden scene, whose future is what sample 1 predicts: the least error is none."""
    file = tmp_path_factory.mktemp("scene") / "scene.npz"
    Scene(*CASE.scene, ego_future_xyz=prediction.pred_xyz[0, 0, 1]).save(file)
    return file


@pytest.fixture(scope="module")
def ran(server, scene, tmp_path_factory):
    output = tmp_path_factory.mktemp("output") / "new" / "folder"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in ASKED.items()]
    ran = alpamayo("predict", "--url", server.grpc, "--scene", scene, "--output", output, *options)
    assert ran.returncode == 0, ran.stderr
    return ran, output


def test_writes_the_prediction(ran, prediction):
    with np.load(ran[1] / "prediction.npz") as written:
        for name in ("pred_xyz", "pred_rot", "action", "within_bounds", "reasoning_complete", "seed", "timestamps_s"):
            np.testing.assert_array_equal(written[name], getattr(prediction, name), err_msg=name)
        assert written["denoiser_runner"] == prediction.denoiser_runner
        np.testing.assert_array_equal(written["cot"], prediction.cot.astype(str))


def test_writes_and_prints_the_reasoning(ran):
    text = (ran[1] / "reasoning.txt").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 2
    assert text in ran[0].stdout


def test_draws_a_picture(ran):
    with Image.open(ran[1] / "prediction.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) >= 600
        pixels = np.asarray(picture.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000  # the camera frames, not only lines on white


def test_prints_the_error_against_the_driven_future(ran):
    assert re.search(r"^minADE@2: 0\.000 m$", ran[0].stdout, re.M), ran[0].stdout


def test_prints_the_seed_and_what_each_stage_took(ran):
    assert re.search(r"\bseed 9\b", ran[0].stdout)
    for stage in ("alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle"):
        assert re.search(rf"^{stage} +\d+\.\d+ s$", ran[0].stdout, re.M), ran[0].stdout


def test_metadata_command(server, client):
    ran = alpamayo("metadata", "--url", server.grpc)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == client.metadata()


def assert_one_line(ran, *words):
    """The last line of stderr says it all; usage may stand above it, a traceback may not."""
    assert "Traceback" not in ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert all(word in last for word in words), ran.stderr


def test_no_server(scene, tmp_path):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{reserved.getsockname()[1]}"
        ran = alpamayo("predict", "--url", url, "--scene", scene, "--output", tmp_path / "out", "--wait-s", "0.5")
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert_one_line(ran, url)
    assert not list((tmp_path / "out").glob("*"))


def test_the_server_s_refusal(server, scene, tmp_path):
    ran = alpamayo("predict", "--url", server.grpc, "--scene", scene, "--output", tmp_path, "--num-traj-samples", "33")
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert_one_line(ran, "33", "at most 32 trajectories")
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "scene.npz"),
        (b"no archive", "numpy.savez"),
        ({"ego_history_xyz": CASE["ego_history_xyz"]}, "image_frames"),
        (dict(zip(("image_frames", "ego_history_xyz"), CASE.scene[:2], strict=True)), "ego_history_rot"),
    ],
    ids=["absent", "no archive", "no images", "no rotations"],
)
def test_a_broken_scene(server, tmp_path, content, words):
    file = tmp_path / "scene.npz"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        np.savez(file, **content)
    ran = alpamayo("predict", "--url", server.grpc, "--scene", file, "--output", tmp_path / "out")
    assert ran.returncode in (1, 2)
    assert_one_line(ran, str(file), words)
