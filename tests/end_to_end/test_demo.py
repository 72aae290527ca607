import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

GOLDEN_CHECKPOINT = Path(__file__).resolve().parents[1] / "golden" / "checkpoint"


@pytest.fixture(scope="module")
def output() -> str:
    """What `make demo` says, with a checkpoint whose answers are noise."""
    command = [sys.executable, "-m", "alpamayo_demo", GOLDEN_CHECKPOINT]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_make_demo_leaves_pictures_and_says_where(output):
    pictures = [line.removeprefix("The picture: ") for line in output.splitlines() if line.startswith("The picture: ")]
    assert [Path(picture).name for picture in pictures] == ["situations.png", "drive.gif", "prediction.png"]
    assert all(min(Image.open(picture).size) > 400 for picture in pictures)


def test_the_drive_is_animated_in_real_time(output):
    (path,) = (line.removeprefix("The picture: ") for line in output.splitlines() if line.endswith("drive.gif"))
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["duration"]) == (201, 100)
    assert Path(path).stat().st_size < 6e6


def test_make_demo_says_what_it_did_and_what_to_do_next(output):
    for stage in ("alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle", "whole call"):
        assert stage in output
    assert "of 17 thoughts name it" in output
    assert "Drove route" in output
    assert "alpamayo-export Alpamayo-R1-10B" in output
