"""Many scenes through a server whose answers the test prepares: what is asked, and what is done when it fails."""

import json
import threading

import grpc
import pyarrow.parquet as pq
import pytest
from alpamayo_client.cli import main


@pytest.fixture
def scenes(tmp_path, scene):
    """Five of them."""
    (tmp_path / "scenes").mkdir()
    for name in "abcde":
        scene.save(tmp_path / "scenes" / f"{name}.npz")
    return tmp_path / "scenes"


@pytest.fixture
def evaluate(triton, scenes, tmp_path):
    def evaluate(*options):
        where = ["--scenes", str(scenes), "--output", str(tmp_path / "out")]
        return main(["evaluate", "--url", triton.url, *where, "--wait-s", "0.5", "--worst", "1", *options])

    return evaluate


@pytest.fixture
def result(tmp_path):
    return lambda: pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()


def test_nothing_is_asked_twice(evaluate, triton, result, scenes, tmp_path):
    assert evaluate("--seed", "7", "--label") == 0
    assert len(triton.requests) == 5
    assert [row["scene_id"] for row in result()] == list("abcde")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    tables = {"results.parquet", "labels.parquet"}
    assert written == tables | {"journal.jsonl", "settings.json", "summary.json", "worst.html"}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["scenes"] == 5
    assert evaluate("--seed", "7") == 0
    assert len(triton.requests) == 5
    (scenes / "a.npz").rename(scenes / "f.npz")
    assert evaluate("--seed", "7") == 0  # the new one alone; what was answered stays
    assert len(triton.requests) == 6
    assert [row["scene_id"] for row in result()] == list("abcdef")


def test_as_many_at_a_time_as_wanted(evaluate, triton):
    """The server answers nobody before three ask, and never sees a fourth beside them."""
    together, lock, busy, most = threading.Barrier(3, timeout=60), threading.Lock(), 0, 0
    answer = triton.answer_infer

    def infer(request):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
            first_three = len(triton.requests) <= 3
        if first_three:
            together.wait()
        with lock:
            busy -= 1
        return answer(request)

    triton.answer_infer = infer
    assert evaluate("--concurrency", "3") == 0
    assert most == 3


def test_what_failed_is_asked_again_and_the_rest_is_not(evaluate, triton, result, scenes, capsys):
    (scenes / "b.npz").write_bytes(b"no archive")
    assert evaluate() == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for words in ("1 scenes failed", "b.npz", "4 of 5 scenes are answered and saved in", "same command"):
        assert words in error
    assert [row["error"] is None for row in result()] == [True, False, True, True, True]
    (scenes / "b.npz").write_bytes((scenes / "a.npz").read_bytes())
    assert evaluate() == 0
    assert len(triton.requests) == 5
    assert all(row["error"] is None for row in result())


@pytest.mark.parametrize("status", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
def test_a_refusal_is_a_row_and_no_end(evaluate, triton, result, capsys, status):
    triton.fails_with = status, "no <such> thing"
    assert evaluate() == 1
    assert len(triton.requests) == 5
    assert all("no <such> thing" in row["error"] for row in result())
    assert "5 scenes failed" in capsys.readouterr().err


def test_settings_that_were_refused_for_every_scene_may_be_changed(evaluate, triton, result):
    triton.fails_with = grpc.StatusCode.INVALID_ARGUMENT, "at most 32"
    assert evaluate("--num-traj-samples", "99") == 1
    triton.fails_with = None
    assert evaluate("--num-traj-samples", "1") == 0
    assert all(row["error"] is None for row in result())


@pytest.mark.parametrize("change", ["seed", "model", "samples"])
def test_other_settings_are_refused(evaluate, triton, capsys, change):
    assert evaluate("--seed", "7") == 0
    if change == "model":
        triton.metadata_json = '{"checkpoint": "another"}'
    options = {"seed": ["--seed", "8"], "model": ["--seed", "7"], "samples": ["--seed", "7", "--num-traj-samples", "2"]}
    capsys.readouterr()
    assert evaluate(*options[change]) == 1
    words = {
        "seed": "parameters.seed was 7, is 8",
        "model": 'model.checkpoint was "tiny", is "another"',
        "samples": "parameters.num_traj_samples was null, is 2",
    }
    error = capsys.readouterr().err
    assert words[change] in error
    assert "another --output" in error
    assert len(triton.requests) == 5


def test_a_server_that_goes_away(evaluate, triton, result, capsys):
    """From its third request on there is nobody: what was answered is there, and the next run asks for the rest."""
    answer = triton.answer_infer

    def infer(request):
        if len(triton.requests) > 2:
            triton.fails_with = grpc.StatusCode.UNAVAILABLE, "going down"
        return answer(request)

    triton.answer_infer = infer
    assert evaluate("--concurrency", "1") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for words in ("is not ready after 0.5 s", "2 of 5 scenes are answered and saved in", "same command"):
        assert words in error
    assert [row["scene_id"] for row in result()] == ["a", "b"]
    triton.answer_infer, triton.fails_with, triton.requests = answer, None, []
    assert evaluate("--concurrency", "1") == 0
    assert len(triton.requests) == 3
    assert len(result()) == 5


def test_a_full_queue_is_waited_for(evaluate, triton, result):
    answer = triton.answer_infer

    def infer(request):
        full = len(triton.requests) == 1
        triton.fails_with = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size") if full else None
        return answer(request)

    triton.answer_infer = infer
    assert evaluate("--concurrency", "1") == 0
    assert len(triton.requests) == 6
    assert all(row["error"] is None for row in result())


def test_no_server_and_nothing_answered(evaluate, triton, tmp_path, capsys):
    triton.ready.discard("alpamayo_unicycle")
    assert evaluate() == 1
    assert "models not ready: alpamayo_unicycle" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.parquet").exists()


@pytest.mark.parametrize(
    "options", [["--scenes", "x", "--clips", "y"], [], ["--scenes", "x", "--concurrency", "0"], ["--clips", "@nowhere"]]
)
def test_wrong_usage(capsys, options, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--output", str(tmp_path), *options])
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_folder_without_scenes(tmp_path, triton, capsys):
    options = ["--scenes", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")]
    assert main(["evaluate", "--url", triton.url, *options]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
