"""What one process writes down, another one sees; and nobody is cancelled whom no one meant."""

import fcntl
import hashlib
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from alpamayo_model_repository import cancellations
from alpamayo_model_repository.cancellations import (
    CANCELLED_FILE,
    KEPT_NS,
    MAX_ID_BYTES,
    Cancellations,
    CancellationsWriter,
    cancelled_file,
)

MODULE = Cancellations.__module__
PLACES = 8  # a bucket has


@pytest.fixture
def file(monkeypatch):
    with cancelled_file() as name:
        monkeypatch.setenv(CANCELLED_FILE, name)
        yield Path(name)


@pytest.fixture
def clock(monkeypatch):
    """What the time is said to be, in ns; to be set."""
    now = [time.monotonic_ns()]
    monkeypatch.setattr(cancellations.time, "monotonic_ns", lambda: now[0])
    return now


@pytest.fixture
def one_bucket(monkeypatch):
    """Every id comes into the same."""
    monkeypatch.setattr(cancellations, "_bucket", lambda digest: 0)


def test_only_what_was_noted_is_held(file):
    writer, reader = CancellationsWriter(), Cancellations()
    noted, others = ([str(uuid.uuid4()) for _ in range(500)] for _ in range(2))
    assert all(map(writer.add, noted))
    assert all(map(reader.holds, noted))
    assert not any(map(reader.holds, ["", *others]))


def test_a_flood_of_other_ids_pushes_nobody_out(file):
    """More than the server takes while a call waits; the comment in the module says how many it would need."""
    writer, reader = CancellationsWriter(), Cancellations()
    victims = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"victim {i}")) for i in range(100)]
    for it in victims:
        writer.add(it)
    for i in range(10_000):
        writer.add(f"some invented id {i}")
    assert all(map(reader.holds, victims))


def test_where_a_bucket_is_full_the_oldest_goes(file, one_bucket):
    writer, reader = CancellationsWriter(), Cancellations()
    ids = [f"call {i}" for i in range(PLACES + 3)]
    for it in ids:
        writer.add(it)
    assert [reader.holds(it) for it in ids] == [False] * 3 + [True] * PLACES


def test_an_id_that_is_noted_again_takes_no_second_place_and_is_new(file, one_bucket):
    writer, reader = CancellationsWriter(), Cancellations()
    ids = [f"call {i}" for i in range(PLACES)]
    for it in [*ids, *[ids[0]] * 20, "another"]:
        writer.add(it)
    assert [reader.holds(it) for it in [*ids, "another"]] == [True, False, *[True] * (PLACES - 2), True]


def test_an_id_may_be_used_again_after_a_time(file, clock):
    writer, reader = CancellationsWriter(), Cancellations()
    writer.add("a call")
    clock[0] += KEPT_NS - 1
    assert reader.holds("a call")
    clock[0] += 1
    assert not reader.holds("a call")
    writer.add("a call")
    assert reader.holds("a call")


def test_it_is_kept_for_longer_than_a_call_can_wait():
    configs = "".join(it.read_text() for it in Path(cancellations.__file__).parent.glob("*/config.pbtxt"))
    in_a_queue_ns = 1000 * max(map(int, re.findall(r"default_timeout_microseconds: (\d+)", configs)))
    assert KEPT_NS == 10 * in_a_queue_ns


def test_text_of_any_kind(file):
    writer, reader = CancellationsWriter(), Cancellations()
    for text in ("x" * MAX_ID_BYTES, "Schluß jetzt", "/etc/passwd", "\0"):
        assert not reader.holds(text)
        writer.add(text)
        assert reader.holds(text)


def test_an_id_that_cannot_be_noted_costs_nothing_to_look_for(file, monkeypatch):
    reader = Cancellations()
    monkeypatch.setattr(cancellations, "_digest", lambda request_id: pytest.fail("a megabyte is hashed"))
    assert not reader.holds("x" * 1_000_000)


def test_a_half_written_place_cancels_nobody(file, clock, one_bucket):
    """An old id goes for a new one: cut anywhere, what is read is the new id's, or no one's. The old one is expired."""
    writer, reader = CancellationsWriter(), Cancellations()
    writer.add("an old call")
    old = file.read_bytes()[: cancellations._PLACE]
    clock[0] += KEPT_NS
    new = cancellations._entry(hashlib.sha256(b"a new call").digest(), clock[0])
    for cut in range(1, len(old)):
        for half in (new[:cut] + old[cut:], old[:cut] + new[cut:]):  # a machine need not write in order
            with file.open("r+b") as memory:
                memory.write(half)
            assert not reader.holds("an old call")
            assert reader.holds("a new call") == (half == new)


def test_another_process_sees_them(file):
    ask = f"from {MODULE} import Cancellations; print(Cancellations().holds('a call'))"
    said = [subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout]
    CancellationsWriter().add("a call")
    said += [subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout]
    assert said == ["False\n", "True\n"]


def test_a_second_writer_waits_for_the_first(file):
    """Or both might take one place. The first: this test, whose lock the kernel takes for another process's."""
    write = f"from {MODULE} import *; writer = CancellationsWriter(); print(flush=True); writer.add('a call'); print()"
    with file.open("r+b") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        with subprocess.Popen([sys.executable, "-c", write], stdout=subprocess.PIPE) as second:
            second.stdout.readline()
            waiting = f"-> FLOCK  ADVISORY  WRITE {second.pid} "
            end = time.monotonic() + 60
            while waiting not in Path("/proc/locks").read_text():
                assert second.poll() is None
                assert time.monotonic() < end
            assert not Cancellations().holds("a call")
            fcntl.flock(first, fcntl.LOCK_UN)
            assert second.wait(60) == 0
    assert Cancellations().holds("a call")


def test_a_writer_lets_no_other_in_until_it_has_written(file, monkeypatch):
    """Neither while it looks for a place nor before it writes there."""

    def locked_in(step):
        def checked(*arguments):
            with file.open("r+b") as another, pytest.raises(BlockingIOError):
                fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
            steps.append(step.__name__)
            return step(*arguments)

        monkeypatch.setattr(cancellations, step.__name__, checked)

    steps = []
    locked_in(cancellations._place_for)
    locked_in(cancellations._entry)
    writer = CancellationsWriter()
    writer.add("a call")
    assert steps == ["_place_for", "_entry"]
    with file.open("r+b") as another:
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and then it does


def test_who_looks_cannot_write(file):
    reader = Cancellations()
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    assert [access for _, access, _, _, inode, *_ in maps if inode == str(file.stat().st_ino)] == ["r--s"]
    with pytest.raises(TypeError, match="readonly"):
        reader._memory[0] = 1


def test_nothing_is_left_behind():
    with cancelled_file() as name:
        assert Path(name).stat().st_nlink == 0  # in no folder
    assert not Path(name).exists()


def test_without_a_launcher_there_are_none(monkeypatch):
    monkeypatch.delenv(CANCELLED_FILE, raising=False)
    assert not CancellationsWriter().add("a call")
    assert not Cancellations().holds("a call")
