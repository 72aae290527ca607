import subprocess
import sys

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError
from alpamayo_client.cli import main
from alpamayo_client.looking.rerun_log import log_scene, save_recording
from evaluated import predicted


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"t0_us": 0.5}, "t0_us: got 0.5, wanted an integer"),
        ({"t0_us": 2**60}, f"t0_us: got {2**60}, wanted microseconds from"),
        ({"world_origin_m": np.eye(4)}, r"world_origin_m: got shape \(4, 4\)"),
        ({"world_origin_m": [0, np.nan, 0]}, "world_origin_m: .*finite"),
        ({"chosen": (0, 2)}, r"chosen: got \(0, 2\), wanted a tuple \(set, sample\), from \(0, 0\) to \(0, 1\)"),
        ({"chosen": (0, -1)}, "chosen: got"),
        ({"chosen": 0}, "chosen: got 0, wanted a tuple"),
        ({"chosen": (0, "a")}, "chosen: got 'a', wanted an integer"),
    ],
)
def test_wrong_times_places_and_choices(scene, tmp_path, given, words):
    with save_recording(tmp_path / "a.rrd") as recording, pytest.raises(InvalidRequestError, match=words):
        log_scene(recording, scene, predicted(samples=2), **given)


def test_a_file_that_cannot_be_written(tmp_path, triton, scene, capsys):
    scene.save(tmp_path / "scene.npz")
    asked = ["predict", "--url", triton.url, "--scene", str(tmp_path / "scene.npz"), "--output", str(tmp_path / "out")]
    assert main([*asked, "--rerun", str(tmp_path / "nowhere" / "a.rrd")]) == 1
    assert "nowhere/a.rrd" in capsys.readouterr().err
    assert (tmp_path / "out" / "prediction.npz").exists()


def test_without_the_extra_nothing_is_asked(tmp_path, triton, scene):
    scene.save(tmp_path / "scene.npz")
    asked = ["predict", "--url", triton.url, "--scene", str(tmp_path / "scene.npz"), "--output", str(tmp_path)]
    asked += ["--rerun", str(tmp_path / "a.rrd")]
    code = f"import sys; sys.modules['rerun'] = None; from alpamayo_client.cli import main; sys.exit(main({asked}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "pip install './client[rerun]'" in ran.stderr
    assert triton.requests == []
