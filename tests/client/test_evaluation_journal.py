"""What is on disk when a run is killed."""

import json

import pytest
from alpamayo_client import InvalidRequestError
from alpamayo_client.evaluation.journal import Journal
from alpamayo_client.evaluation.settings import keep_settings
from alpamayo_client.evaluation.source import SceneKey

BOTH = [SceneKey("a", None), SceneKey("b", None)]


def row(scene_id, error=None, t0_us=None, **more):
    return {"scene_id": scene_id, "t0_us": t0_us, "fingerprint": "f", "error": error, **more}


def answered(*keys):
    return dict.fromkeys((SceneKey(*key) for key in keys), "f")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def write(path, *rows):
    with Journal(path) as journal:
        for each in rows:
            journal.append(each)


def test_goes_on_where_it_was(path):
    write(path, row("b", t0_us=2), row("a", t0_us=9))
    write(path, row("b", t0_us=1))
    with Journal(path) as journal:
        assert journal.answered == answered(("a", 9), ("b", 1), ("b", 2))
        rows = journal.rows([SceneKey("b", 2), SceneKey("b", 1), SceneKey("c", 1)])  # those that are wanted, sorted
        assert [(r["scene_id"], r["t0_us"]) for r in rows] == [("b", 1), ("b", 2)]


def test_a_later_row_replaces_a_failed_one(path):
    write(path, row("a", error="first"), row("b", error="first"), row("a", seed=3))
    with Journal(path) as journal:
        assert journal.answered == answered(("a", None))
        assert journal.failed == {SceneKey("b", None): "first"}
        journal.append(row("b", error="again"))
        assert list(journal.rows(BOTH)) == [row("a", seed=3), row("b", error="again")]


def test_what_is_forgotten_has_been_asked(path):
    write(path, row("a"), row("b", error="first"))
    with Journal(path) as journal:
        journal.forget(SceneKey("a", None))
        assert journal.answered == {}
        assert journal.begun  # the answer is still in the file: other settings may not follow it
        assert list(journal.rows(BOTH)) == [row("b", error="first")]
        journal.append(row("a", seed=2))
        assert journal.answered == answered(("a", None))


def test_every_way_to_tear_the_last_line(path):
    write(path, row("a"), row("b"))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert journal.answered == answered(("a", None))
            journal.append(row("b"))
        assert path.read_bytes() == whole


def test_one_run_at_a_time(path):
    with Journal(path), pytest.raises(InvalidRequestError, match="another run"):
        Journal(path)
    Journal(path).__exit__()


@pytest.mark.parametrize("line", [b"text\n", b"[]\n", b'{"scene_id": "a"}\n'])
def test_another_file_is_not_touched(path, line):
    path.write_bytes(line)
    with pytest.raises(InvalidRequestError, match="no row of alpamayo evaluate at byte 0"):
        Journal(path)
    assert path.read_bytes() == line


def test_settings_that_changed_are_named(tmp_path):
    path = tmp_path / "settings.json"
    settings = {"model": {"checkpoint": "tiny"}, "parameters": {"seed": 1}}
    keep_settings(path, settings, begun=False)
    keep_settings(path, settings, begun=True)
    other = {"model": {"checkpoint": "tiny"}, "parameters": {"seed": 2, "top_k": 1}}
    with pytest.raises(InvalidRequestError, match=r"parameters.seed was 1, is 2; parameters.top_k was null, is 1\."):
        keep_settings(path, other, begun=True)
    assert json.loads(path.read_text()) == settings
    keep_settings(path, other, begun=False)  # nothing was answered with the former ones
    assert json.loads(path.read_text()) == other


def test_settings_are_whole_or_as_they_were(tmp_path):
    path = tmp_path / "settings.json"
    keep_settings(path, {"parameters": {"seed": 1}}, begun=False)
    before = path.read_bytes()
    (tmp_path / ".settings.json.unfinished").mkdir()  # so that nothing can be written
    with pytest.raises(IsADirectoryError):
        keep_settings(path, {"parameters": {"seed": 2}}, begun=False)
    assert path.read_bytes() == before
