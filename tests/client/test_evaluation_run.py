"""Many scenes through a server whose answers the test prepares: what is asked, and what is done when it fails."""

import json
import threading
import time
from dataclasses import replace

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from alpamayo_client.cli import main
from alpamayo_client.evaluation.results import read_settings
from odd_files import ODD_FILES


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
    assert evaluate("--seed", "7") == 0  # the new one alone; the one that is gone is in no result
    assert len(triton.requests) == 6
    assert [row["scene_id"] for row in result()] == list("bcdef")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["scenes"] == 5


def test_a_folder_that_was_moved_goes_on(evaluate, triton, scenes, tmp_path):
    assert evaluate() == 0
    scenes.rename(tmp_path / "moved")
    options = ["--url", triton.url, "--scenes", str(tmp_path / "moved"), "--output", str(tmp_path / "out")]
    assert main(["evaluate", *options, "--worst", "1"]) == 0
    assert len(triton.requests) == 5
    assert read_settings(tmp_path / "out" / "results.parquet")["source"] == {"folder": str(tmp_path / "moved")}


def test_a_scene_that_has_changed_is_asked_again(evaluate, triton, result, scenes, scene, capsys):
    assert evaluate() == 0
    replace(scene, ego_future_xyz=np.add(scene.ego_future_xyz, [0, 1, 0])).save(scenes / "b.npz")
    triton.ready.discard("alpamayo_unicycle")
    capsys.readouterr()
    assert evaluate() == 1  # the old answer is no result, even while there is no new one
    captured = capsys.readouterr()
    assert "1 scenes have changed since they were answered, the first is b: asking again" in captured.out
    assert "4 of 5 scenes are answered" in captured.err
    assert [row["scene_id"] for row in result()] == list("acde")
    triton.ready.add("alpamayo_unicycle")
    assert evaluate() == 0
    assert len(triton.requests) == 6
    assert [row["min_fde_m"] for row in result()] == pytest.approx([0, 1, 0, 0, 0], abs=1e-5)


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


def test_odd_files_are_rows(evaluate, triton, result, scenes):
    whole = (scenes / "a.npz").read_bytes()
    for name, (make, _) in ODD_FILES.items():
        (scenes / f"{name}.npz").write_bytes(make(whole))
    (scenes / "folder.npz").mkdir()
    assert evaluate() == 1
    assert len(triton.requests) == 5
    errors = {row["scene_id"]: row["error"] for row in result() if row["error"]}
    assert errors.keys() == {*ODD_FILES, "folder"}
    assert all(f"{name}.npz" in error for name, error in errors.items())


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


@pytest.mark.parametrize(
    "words", ["top_p must be a number, 0 .. 1; got 2.0", "num_traj_samples x num_traj_sets is 99 x 1"]
)
def test_parameters_that_are_refused_end_it_at_once(evaluate, triton, capsys, tmp_path, words):
    triton.fails_with = grpc.StatusCode.INVALID_ARGUMENT, words
    assert evaluate("--concurrency", "1", "--top-p", "2", "--num-traj-samples", "99") == 1
    assert len(triton.requests) == 1
    assert capsys.readouterr().err == f"alpamayo: {words}\n"
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == b""
    triton.fails_with = None
    assert evaluate("--top-p", "1") == 0


@pytest.mark.parametrize("option", ["--timeout-s", "--priority"])
def test_what_can_be_known_is_refused_before(evaluate, capsys, tmp_path, option):
    assert evaluate(option, "-1") == 1
    assert f"{option[2:].replace('-', '_')}: got -1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize("words", ["in queue: Exceeds maximum queue size", "Request timeout expired"])
def test_a_queue_that_stays_full_is_no_server_that_is_gone(evaluate, triton, result, words):
    """It is so for longer than the half second for which a server that is gone is waited for."""
    answer, first = triton.answer_infer, None

    def infer(request):
        nonlocal first
        first = first or time.monotonic()
        full = time.monotonic() < first + 0.8
        return (grpc.StatusCode.UNAVAILABLE, words) if full else answer(request)

    triton.answer_infer = infer
    assert evaluate("--concurrency", "2") == 0
    assert all(row["error"] is None for row in result())


def test_a_server_that_hangs_is_given_up(evaluate, triton, tmp_path, capsys):
    """Those that waited in vain until then are rows; the others are asked about the next time."""
    triton.answer_infer = lambda request: time.sleep(1)
    assert evaluate("--timeout-s", "0.2", "--concurrency", "1") == 1
    assert "is not ready after 0.5 s: " in capsys.readouterr().err
    assert len((tmp_path / "out" / "journal.jsonl").read_text().splitlines()) < 5


def test_others_are_answered_while_one_scene_finds_nobody(evaluate, triton, result, scenes, scene):
    """Each of the others' answers comes when it was sent away four times more: in all, for longer than --wait-s."""
    replace(scene, ego_history_xyz=np.multiply(scene.ego_history_xyz, 0.5)).save(scenes / "a.npz")
    unlucky = np.multiply(scene.ego_history_xyz, 0.5).astype(np.float32).tobytes()
    answer, sent_away, others = triton.answer_infer, threading.Semaphore(0), 0

    def infer(request):
        nonlocal others
        if unlucky not in request.raw_input_contents:
            for _ in range(4):
                assert sent_away.acquire(timeout=60)
            others += 1
        elif others < 4:
            sent_away.release()
            return grpc.StatusCode.UNAVAILABLE, "it starts anew"
        return answer(request)

    triton.answer_infer = infer
    assert evaluate("--concurrency", "2", "--wait-s", "2") == 0
    assert all(row["error"] is None for row in result())


@pytest.mark.parametrize("fails", ["no JSON", "late"])
def test_what_was_answered_is_written_when_the_server_fails(evaluate, triton, result, capsys, tmp_path, fails):
    """Even if it was killed before it had written anything but the journal."""
    assert evaluate() == 0
    (tmp_path / "out" / "results.parquet").unlink()
    if fails == "no JSON":
        triton.metadata_json = "no\nJSON"
    else:
        triton.metadata_fails_with = grpc.StatusCode.DEADLINE_EXCEEDED, "too\nlate"
    capsys.readouterr()
    assert evaluate() == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "5 of 5 scenes are answered and saved in" in error
    assert len(result()) == 5


def test_no_server_and_nothing_answered(evaluate, triton, tmp_path, capsys):
    triton.ready.discard("alpamayo_unicycle")
    assert evaluate() == 1
    assert "models not ready: alpamayo_unicycle" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.parquet").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--scenes", "x", "--clips", "y"],
        [],
        ["--scenes", "x", "--concurrency", "0"],
        ["--clips", "@nowhere"],
        ["--clips", "", " "],
        ["--scenes", "x", "--t0-s", "5"],
        ["--scenes", "x", "--revision", "y"],
        ["--scenes", "x", "--cache-dir", "y"],
        ["--clips", "x", "--t0-s", "nan"],
        ["--clips", "x", "--t0-s", "inf"],
        ["--scenes", "x", "--wait-s", "nan"],
        ["--scenes", "x", "--timeout-s", "inf"],
    ],
    ids=" ".join,
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


def test_headers_are_sent(evaluate, triton):
    assert evaluate("--header", "key=a secret") == 0
    assert {headers.get("key") for _, headers in triton.headers} == {"a secret"}
