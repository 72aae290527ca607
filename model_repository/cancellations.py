"""Calls that their callers have given up, known to every model at once. A copy goes beside every `model.py`.

Triton tells it to a model that is called directly, but not to the running step of an ensemble, whose caller therefore
asks `alpamayo_cancel` for it. That model writes into memory that the launcher shares with all; the others look there
between their steps.

The memory is a table of buckets; an id's hash says in which bucket it may be. Each place holds the id's hash, when it
was noted, and a checksum of both: a place that is read while it is written fits no checksum, and so cancels nobody.
"""

import fcntl
import hashlib
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

CANCELLED_FILE = "ALPAMAYO_CANCELLED_FILE"
"""An environment variable: the memory's name, as a file."""

MAX_ID_BYTES = 256  # of a call that can be cancelled; a UUID has 36

KEPT_NS = 600 * 10**9
"""How long an id stays cancelled; then it may be used again. A call looks within 60 s, the longest wait in a queue, and
the length of a step. This is ten times as long: for a queue that someone has made longer, and for a call that is still
on its way when its caller gives up."""

# Where a bucket is full the oldest goes, so that nobody can keep others from cancelling. It takes eight others of its
# bucket to push an id out. Who does not know it must send, by arithmetic, 24,000 for one chance in a hundred, and
# 63,000 for one in two. Who is meant looks between two steps, and so long before that, unless it waits in a queue.
# Who knows the id needs eight that he has searched for; he could as well cancel it.
_BUCKETS, _PLACES = 8192, 8
_HASH, _TIME, _CHECKSUM = 32, 8, 8  # bytes
_PLACE = _HASH + _TIME + _CHECKSUM
_BUCKET = _PLACES * _PLACE


@contextmanager
def cancelled_file() -> Iterator[str]:
    """For the launcher: the name, for as long as the block and this process last. Nothing can be left behind."""
    descriptor = os.memfd_create("alpamayo_cancelled")
    try:
        os.ftruncate(descriptor, _BUCKETS * _BUCKET)
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


class Cancellations:
    """Of one server, to look at; without a launcher there are none."""

    def __init__(self) -> None:
        path = os.environ.get(CANCELLED_FILE)
        self._memory: mmap.mmap | None = None
        if path:
            with open(path, "rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def holds(self, request_id: str) -> bool:
        """Takes a microsecond or two, whatever the id: it is asked after every token."""
        if self._memory is None or not 0 < len(request_id) <= MAX_ID_BYTES:
            return False
        digest = _digest(request_id)
        start = _bucket(digest)
        bucket = self._memory[start : start + _BUCKET]
        place = bucket.find(digest)
        if place < 0:
            return False
        noted_ns = _noted_ns(bucket, place)
        whole = bucket[place : place + _PLACE] == _entry(digest, noted_ns)
        return whole and time.monotonic_ns() - noted_ns < KEPT_NS


class CancellationsWriter:
    """The same, to write down: for `alpamayo_cancel` alone, of which there may be several instances."""

    def __init__(self) -> None:
        path = os.environ.get(CANCELLED_FILE)
        self._memory: mmap.mmap | None = None
        if path:
            self._file = open(path, "r+b")  # noqa: SIM115  # for as long as this process, and to be locked
            self._memory = mmap.mmap(self._file.fileno(), 0)

    def add(self, request_id: str) -> bool:
        """Whether it could be written down. The id: of at most MAX_ID_BYTES."""
        if self._memory is None:
            return False
        digest = _digest(request_id)
        start = _bucket(digest)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            place = start + _place_for(digest, self._memory[start : start + _BUCKET])
            self._memory[place : place + _PLACE] = _entry(digest, time.monotonic_ns())
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        return True


def _digest(request_id: str) -> bytes:
    return hashlib.sha256(request_id.encode()).digest()


def _bucket(digest: bytes) -> int:
    """Where it begins."""
    return int.from_bytes(digest[:4], "little") % _BUCKETS * _BUCKET


def _entry(digest: bytes, noted_ns: int) -> bytes:
    entry = digest + noted_ns.to_bytes(_TIME, "little")
    return entry + hashlib.sha256(entry).digest()[:_CHECKSUM]


def _noted_ns(bucket: bytes, place: int) -> int:
    return int.from_bytes(bucket[place + _HASH : place + _HASH + _TIME], "little")


def _place_for(digest: bytes, bucket: bytes) -> int:
    """Where the id is already, or else the oldest's place; one that was never used is older than all."""
    places = range(0, _BUCKET, _PLACE)
    own = (place for place in places if bucket.startswith(digest, place))
    return next(own, min(places, key=lambda place: _noted_ns(bucket, place)))
