"""Calls that their callers have given up, known to every model at once. A copy goes beside every `model.py`.

Triton tells it to a model that is called directly, but not to the running step of an ensemble, whose caller therefore
asks `alpamayo_cancel` for it. That model writes into memory that the launcher shares with all; the others look there
between their steps.
"""

import hashlib
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

CANCELLED_FILE = "ALPAMAYO_CANCELLED_FILE"
"""An environment variable: the memory's name, as a file."""

_PLACES = 256  # the oldest goes first: by then, whoever was meant has ended, or was never there
_PLACE = hashlib.sha256().digest_size  # every id needs as much, whatever its length


@contextmanager
def cancelled_file() -> Iterator[str]:
    """For the launcher: the name, for as long as the block and this process last. Nothing can be left behind."""
    descriptor = os.memfd_create("alpamayo_cancelled")
    try:
        os.ftruncate(descriptor, _PLACES * _PLACE)
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


class Cancellations:
    """Of one server, in whichever of its processes; without a launcher there are none."""

    def __init__(self) -> None:
        path = os.environ.get(CANCELLED_FILE)
        self._memory: mmap.mmap | None = None
        self._place = 0
        if path:
            with open(path, "r+b") as file:
                self._memory = mmap.mmap(file.fileno(), 0)

    def add(self, request_id: str) -> bool:
        """Whether it could be written down. One process only may do this."""
        if self._memory is None:
            return False
        start = self._place * _PLACE
        self._memory[start : start + _PLACE] = _digest(request_id)
        self._place = (self._place + 1) % _PLACES
        return True

    def holds(self, request_id: str) -> bool:
        """Takes a microsecond or two: it is asked after every token."""
        return bool(request_id) and self._memory is not None and self._memory.find(_digest(request_id)) >= 0


def _digest(request_id: str) -> bytes:
    return hashlib.sha256(request_id.encode()).digest()
