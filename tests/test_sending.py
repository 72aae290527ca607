"""The benchmark of ways to send frames, on servers: what is the same in all of them, and what is not."""

import json
from functools import partial

import numpy as np
import pytest
import sending
from alpamayo_demo.evaluate.cases import make_cases
from readme import TABLES
from scenes import made_up_scene


def test_every_way(repository, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sending, "made_up_scene", partial(made_up_scene, 352, 608))
    monkeypatch.setattr(sending, "CHECKPOINT", repository)  # nothing is to be trained, exported and judged here
    monkeypatch.setattr(sending, "make_cases", lambda *which: make_cases(*which)[:1])
    monkeypatch.setattr(sending, "ENLARGED", 4)
    output = tmp_path / "sending.json"
    assert sending.main([str(repository), "--rounds", "1", "--output", str(output)]) == 0
    printed, result = capsys.readouterr().out, json.loads(output.read_text())
    assert printed.strip() == TABLES[result["benchmark"]](result)

    raw, resized = 16 * 3 * 352 * 608, 16 * 3 * 320 * 576
    sizes = {name: (it["frames"], it["grpc"]) for name, it in result["bytes"].items()}
    jpeg, resized_jpeg = sizes.pop("jpeg"), sizes.pop("resized_jpeg")
    assert sizes == {
        "raw": (raw, raw),
        "resized": (resized, resized),
        "shared": (raw, 0),
        "resized_shared": (resized, 0),
    }
    assert resized_jpeg[0] == resized_jpeg[1] < jpeg[0] == jpeg[1] < resized

    for name, parts in result["seconds"].items():
        p50 = {part: it["p50"] for part, it in parts.items()}
        assert p50["total"] == pytest.approx(p50["robot"] + p50["call"]), name
        assert all(p50[part] > 0 for part in ("preprocess", "models", "call")), name

    ways = result["trajectory"]["ways"]
    for name in ("raw", "resized", "shared", "resized_shared"):
        assert (ways[name]["mean_m"], ways[name]["max_m"], ways[name]["other_thoughts"]) == (0, 0, 0), name
        assert ways[name]["min_ade_m"] == ways["raw"]["min_ade_m"]
    assert 0 < ways["jpeg"]["mean_m"] < ways["jpeg"]["max_m"]


def test_frames_are_enlarged_smoothly():
    frames = np.zeros((1, 2, 3, 10, 20), np.uint8)
    frames[0, 1, 2, 5, 7] = 200
    large = sending.enlarged(frames)
    assert large.shape == (1, 2, 3, 120, 240)
    assert large[0, 1, 2, 66, 90] > 150
    assert not large[0, 0].any()
    assert not large[0, 1, :2].any()


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--scenes-per-situation", "0"]])
def test_senseless_settings(arguments, capsys):
    assert sending.main(arguments) == 1
    assert f"{arguments[0]}: got {arguments[1]}, wanted at least 1" in capsys.readouterr().err
