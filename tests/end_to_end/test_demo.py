import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from alpamayo_client import Scene
from alpamayo_demo.served import CHECKPOINT
from PIL import Image

GOLDEN_CHECKPOINT = Path(__file__).resolve().parents[1] / "golden" / "checkpoint"  # whose answers are noise


@dataclass(frozen=True)
class Shown:
    said: str
    folder: Path


def make_demo(checkpoint: Path, folder: Path) -> Shown:
    command = [sys.executable, "-m", "alpamayo_demo", checkpoint, "--output", folder]
    return Shown(subprocess.run(command, capture_output=True, text=True, check=True).stdout, folder)


@pytest.fixture(scope="module")
def driving(tmp_path_factory) -> Shown:
    return make_demo(CHECKPOINT, tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Shown:
    return make_demo(GOLDEN_CHECKPOINT, tmp_path_factory.mktemp("noise"))


@pytest.fixture(params=["driving", "noise"])
def shown(request) -> Shown:
    return request.getfixturevalue(request.param)


def test_it_leaves_pictures_and_says_where(shown):
    pictures = re.findall(r"^The picture: (.*)$", shown.said, re.MULTILINE)
    assert pictures == [str(shown.folder / name) for name in ("situations.png", "drive.gif", "prediction.png")]
    assert all(min(Image.open(picture).size) > 400 for picture in pictures)


def test_the_drive_is_animated_in_real_time(shown):
    path = shown.folder / "drive.gif"
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["duration"]) == (201, 100)
    assert path.stat().st_size < 6e6


def test_the_scene_it_leaves_knows_its_cameras_and_its_frames_times(shown):
    scene = Scene.load(shown.folder / "scene.npz")
    assert scene.camera_names == ["front wide", "front tele"]
    assert scene.frame_offsets_ms.tolist() == [[-500, 0]] * 2


def test_it_says_what_it_did_and_what_to_do_next(shown):
    for stage in ("alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle", "whole call"):
        assert stage in shown.said
    assert "of 17 thoughts name it" in shown.said
    assert "Drove route" in shown.said
    assert "alpamayo-export Alpamayo-R1-10B" in shown.said


def test_the_committed_checkpoint_knows_what_it_sees_and_drives_without_fault(driving):
    (right,) = re.findall(r"(\d+) of 17 thoughts name it", driving.said)
    assert int(right) >= 16
    (drive,) = re.findall(r"^Drove route .*$", driving.said, re.MULTILINE)
    assert drive.endswith("; no fault")


def test_what_is_noise_does_neither(noise):
    (right,) = re.findall(r"(\d+) of 17 thoughts name it", noise.said)
    assert int(right) < 8
    assert "; no fault" not in noise.said
