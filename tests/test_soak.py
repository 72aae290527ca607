"""The soak, short: a real server over a few requests, and what the verdict is about made-up readings."""

import json
from dataclasses import replace

import pytest
from process_memory import PROCESSES
from soak import Reading, grown_in, main, table


def test_a_server_is_the_same_after_some_requests(repository, tmp_path):
    output = tmp_path / "soak.json"
    assert main([str(repository), "--requests", "40", "--readings", "4", "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert result["grown"] == []
    assert [it["requests"] for it in result["readings"]] == list(range(10, 50, 10))
    last = result["readings"][-1]
    assert set(last["rss"]) == set(last["threads"]) == set(last["open_files"]) == set(PROCESSES)
    assert min(last["rss"].values()) > 1e7
    assert last["shared_files"] == 4  # one for each stub
    assert last["shared_memory"] > 1e6
    assert "Nothing grows." in table(result)


def flat(count=8):
    one = dict.fromkeys(PROCESSES, 1)
    first = Reading(10, {name: 400_000_000 for name in one}, one, one, 50_000_000, 3)
    return [replace(first, requests=10 * n) for n in range(1, count + 1)]


def test_what_is_still_is_flat_and_so_is_what_grows_at_first():
    readings = flat()
    assert grown_in(readings) == []
    readings[0] = replace(readings[0], rss=dict.fromkeys(PROCESSES, 1), shared_memory=0, shared_files=0)
    assert grown_in(readings) == []


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("rss", 8_000_000, "bytes of alpamayo_reasoner"),
        ("threads", 1, "threads of alpamayo_reasoner"),
        ("open_files", 1, "open files of alpamayo_reasoner"),
        ("shared_memory", 64, "bytes of shared memory"),
        ("shared_files", 1, "files of shared memory"),
    ],
)
def test_what_leaks_with_every_request_is_found(name, more, says):
    def leaked(reading):
        was, grown = getattr(reading, name), more * reading.requests // 10
        return was | {"alpamayo_reasoner": was["alpamayo_reasoner"] + grown} if isinstance(was, dict) else was + grown

    (line,) = grown_in([replace(it, **{name: leaked(it)}) for it in flat()])
    assert line.startswith(says)
