"""The soak, short: a real server over a few requests, and what is said about made-up readings."""

import json
from dataclasses import replace

import numpy as np
import pytest
from growth import STEADY, Reading, grown_in, rss_slope
from process_memory import PROCESSES
from soak import main, table, verdict

SLOW, QUICK = 100, 1000  # bytes with each request: one that may be, and one that may not
RUN = range(250, 10_250, 250)


def test_a_server_is_the_same_after_some_requests(repository, tmp_path):
    output = tmp_path / "soak.json"
    assert main([str(repository), "--requests", "40", "--readings", "4", "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert [it["requests"] for it in result["readings"]] == list(range(10, 50, 10))
    last = result["readings"][-1]
    assert set(last["rss"]) == set(last["threads"]) == set(last["open_files"]) == set(PROCESSES)
    assert min(last["rss"].values()) > 1e7
    assert last["shared_files"] == 4  # one for each stub
    assert last["shared_memory"] > 1e6
    assert "From 10 requests on, memory is not judged" in table(result)


def flat(run=RUN):
    one = dict.fromkeys(PROCESSES, 1)
    return [Reading(n, dict.fromkeys(PROCESSES, 400_000_000), one, one, 50_000_000, 4) for n in run]


def growing(name, rss):
    """`rss`: by the number of requests, what is added to the process's memory."""
    return [replace(it, rss=it.rss | {name: it.rss[name] + round(rss(it.requests))}) for it in flat()]


def test_what_is_still_is_flat_and_so_is_what_grows_at_first():
    readings = flat()
    assert grown_in(readings) == []
    readings[0] = replace(readings[0], rss=dict.fromkeys(PROCESSES, 1), shared_memory=0, shared_files=0)
    assert grown_in(readings) == []


@pytest.mark.parametrize("name", PROCESSES)
def test_a_steady_leak_of_any_process_is_found(name):
    (line,) = grown_in(growing(name, lambda n: QUICK * n))
    assert line == f"bytes of {name}: {QUICK} more with each request, 7.5 MB in all"
    assert grown_in(growing(name, lambda n: SLOW * n)) == []
    assert SLOW < STEADY < QUICK


def saw_tooth(n):
    """As allocators have it: memory comes bit by bit and goes at once."""
    return 500 * (n % 4000) + np.random.default_rng(n).uniform(-1e6, 1e6)


def test_noise_is_no_leak_and_hides_none():
    assert grown_in(growing("tritonserver", saw_tooth)) == []
    leaking = growing("tritonserver", lambda n: saw_tooth(n) + QUICK * n)
    assert len(grown_in(leaking)) == 1
    assert rss_slope(leaking, "tritonserver") == pytest.approx(QUICK, rel=0.3)


def test_one_reading_at_the_wrong_moment_is_no_leak():
    assert grown_in(growing("alpamayo_reasoner", lambda n: 24e6 * (n == RUN[-1]))) == []


@pytest.mark.parametrize("name", ["threads", "open_files"])
def test_one_that_comes_late_and_stays_is_no_leak(name):
    readings = flat()
    readings[15:] = [replace(it, **{name: getattr(it, name) | {"tritonserver": 2}}) for it in readings[15:]]
    assert grown_in(readings) == []


def test_a_few_requests_say_nothing_about_memory():
    readings = [replace(it, rss={name: 10**6 * it.requests for name in PROCESSES}) for it in flat(range(10, 50, 10))]
    assert grown_in(readings) == []
    assert "memory is not judged" in verdict(readings)


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("threads", 1, "threads of alpamayo_reasoner"),
        ("open_files", 1, "open files of alpamayo_reasoner"),
        ("shared_memory", 64, "bytes of shared memory"),
        ("shared_files", 1, "files of shared memory"),
    ],
)
def test_other_things_that_grow_are_found(name, more, says):
    def leaked(reading):
        was, grown = getattr(reading, name), more * reading.requests // 250
        return was | {"alpamayo_reasoner": was["alpamayo_reasoner"] + grown} if isinstance(was, dict) else was + grown

    readings = [replace(it, **{name: leaked(it)}) for it in flat()]
    (line,) = grown_in(readings)
    assert line.startswith(says)
    assert f"there grows: {says}" in verdict(readings)


def test_the_verdict_on_what_does_not_grow_gives_its_bounds():
    assert verdict(flat()) == (
        "From 2500 requests on, no process's memory grows steadily by more than 200 bytes with each request and 3 MB "
        "in all; threads and open files (by more than 3) and shared memory do not grow."
    )
