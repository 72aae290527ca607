import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def test_make_demo_leaves_a_picture_and_says_what_to_do_next():
    done = subprocess.run([sys.executable, ROOT / "demo" / "run.py"], capture_output=True, text=True, check=True)
    picture = done.stdout.splitlines()[-1].removeprefix("The picture: ")
    assert min(Image.open(picture).size) > 500
    for stage in ("alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle", "whole call"):
        assert stage in done.stdout
    assert "alpamayo-export Alpamayo-R1-10B" in done.stdout
