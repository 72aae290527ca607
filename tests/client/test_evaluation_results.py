"""The Parquet files, and the numbers that are made of them."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from alpamayo_client import InvalidRequestError, Scene
from alpamayo_client.evaluation import labels
from alpamayo_client.evaluation.results import read_rows, read_settings, read_worst
from alpamayo_client.evaluation.rows import to_prediction
from alpamayo_client.evaluation.schema import SCHEMA
from alpamayo_client.evaluation.summary import summarize, summary_lines
from evaluated import SETTINGS, aside, failed, predicted, results, row


def turned(sets, samples, turn_rad):
    """A prediction in which every number is another one."""
    shape = (1, sets, samples, 64)
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 100
    yaw = turn_rad * numbers
    rot = np.broadcast_to(np.eye(3, dtype=np.float32), (*shape, 3, 3)).copy()
    rot[..., 0, 0] = rot[..., 1, 1] = np.cos(yaw)
    rot[..., 1, 0] = np.sin(yaw)
    rot[..., 0, 1] = -np.sin(yaw)
    flags = np.arange(sets * samples).reshape(1, sets, samples) % 2 == 0
    xyz = np.stack([numbers + 1, numbers / 3, -numbers], axis=-1)
    action = np.stack([numbers / 7, -numbers / 9], axis=-1)
    changes = {"pred_xyz": xyz, "pred_rot": rot, "action": action}
    return predicted(sets, samples, **changes, within_bounds=flags, reasoning_complete=~flags)


def test_an_answer_comes_back_out_of_the_file(tmp_path, scene):
    prediction = turned(2, 3, 0.3)
    path = results(tmp_path, [json.loads(json.dumps(row("a", scene, prediction, 5_100_000)))])
    (written,) = read_rows(path)
    again = to_prediction(written)
    for name in ("pred_xyz", "action", "cot", "within_bounds", "reasoning_complete", "seed", "denoiser_runner"):
        np.testing.assert_array_equal(getattr(again, name), getattr(prediction, name), err_msg=name)
    np.testing.assert_allclose(again.pred_rot, prediction.pred_rot, atol=1e-6)
    assert (written["scene_id"], written["t0_us"], written["error"]) == ("a", 5_100_000, None)
    assert read_settings(path) == SETTINGS


def test_a_failed_scene_has_nothing_but_its_error(tmp_path):
    (written,) = read_rows(results(tmp_path, [failed("a")]))
    assert written.pop("scene_id") == "a"
    assert written.pop("error") == "it is broken"
    assert set(written.values()) == {None}


def test_every_column_is_described():
    assert all(field.metadata[b"description"] for field in [*SCHEMA, *labels.SCHEMA])


def test_summary(tmp_path, scene, frames, history):
    cut_off = predicted(1, 2, reasoning_complete=np.array([[[True, False]]]), within_bounds=np.array([[[False, True]]]))
    rows = [
        row("a", scene, aside(0)),
        row("b", scene, aside(1)),
        row("c", scene, aside(5)),
        row("d", Scene(frames, *history), cut_off, latency_s=1.5),
        failed("e"),
    ]
    summary = summarize(results(tmp_path, rows))
    assert (summary["scenes"], summary["failed"], summary["future_known"]) == (5, 1, 3)
    assert summary["miss_rate"] == pytest.approx(1 / 3)
    assert summary["incomplete_thoughts"] == summary["out_of_bounds"] == pytest.approx(1 / 5)
    statistics = summary["statistics"]
    for column in ("min_ade_0.5s_m", "min_ade_6.4s_m", "min_fde_m"):
        assert statistics[column]["mean"] == pytest.approx(2.0, abs=1e-5)
        assert statistics[column]["p50"] == pytest.approx(1.0, abs=1e-5)
        assert statistics[column]["p99"] == pytest.approx(1 + 4 * 0.98, abs=1e-5)
    assert statistics["latency_s"]["mean"] == pytest.approx(0.75)
    assert statistics["min_speed_mps"]["p1"] == pytest.approx(9.0, rel=1e-4)
    lines = summary_lines(summary)
    assert lines[0] == "5 scenes, 1 failed, 3 with a known future"
    assert lines[1] == "miss rate 33.3%, incomplete thoughts 20.0%, out of bounds 20.0%"
    assert [line.split()[:2] for line in lines if line.startswith("min_fde_m")] == [["min_fde_m", "2.000"]]


def test_summary_of_nothing(tmp_path):
    summary = summarize(results(tmp_path, [failed("a")]))
    assert summary["miss_rate"] is None
    assert set(summary["statistics"].values()) == {None}
    assert "miss rate unknown" in summary_lines(summary)[1]


def test_the_worst_first(tmp_path, scene, frames, history):
    unknown = Scene(frames, *history)
    sharp = predicted(action=np.full((1, 1, 1, 64, 2), [0, 0.1], np.float32))
    rows = [
        row("good", scene, aside(0)),
        row("straight", unknown),
        row("sharp", unknown, sharp),
        failed("broken"),
        row("bad", scene, aside(5)),
    ]
    path = results(tmp_path, rows)
    assert [r["scene_id"] for r in read_worst(path, 9)] == ["bad", "good", "sharp", "straight"]
    assert [r["scene_id"] for r in read_worst(path, 1)] == ["bad"]


def test_labels(tmp_path, scene):
    prediction = turned(2, 3, 0.01)
    path = results(tmp_path, [row("a", scene, prediction, 7), failed("b")])
    labels.write_labels(tmp_path / "labels.parquet", path)
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table.schema.equals(labels.SCHEMA)
    assert table.num_rows == 6
    label = table.to_pylist()[4]
    assert (label["scene_id"], label["t0_us"], label["traj_set"], label["traj_sample"]) == ("a", 7, 1, 1)
    assert label["cot"] == "Thought 1."
    index = (0, 1, 1)
    np.testing.assert_array_equal(np.reshape(label["pred_xyz"], (64, 3)), prediction.pred_xyz[index])
    np.testing.assert_array_equal(np.reshape(label["action"], (64, 2)), prediction.action[index])
    np.testing.assert_allclose(np.sin(label["pred_yaw_rad"]), prediction.pred_rot[index][:, 1, 0], atol=1e-6)
    assert label["within_bounds"] == prediction.within_bounds[index]
    assert label["reasoning_complete"] == prediction.reasoning_complete[index]


@pytest.mark.parametrize("other", ["no parquet", "labels"])
def test_a_file_that_holds_no_results(tmp_path, scene, other):
    path = results(tmp_path, [row("a", scene)])
    if other == "labels":
        labels.write_labels(tmp_path / "labels.parquet", path)
        path = tmp_path / "labels.parquet"
    else:
        path.write_bytes(b"nothing")
    with pytest.raises(InvalidRequestError, match="wanted results written by alpamayo evaluate"):
        read_settings(path)
