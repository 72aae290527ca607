"""Calls that their callers have given up, known to every model at once. A copy goes beside every `model.py`.

Triton tells it to a model that is called directly, but not to the running step of an ensemble, whose caller therefore
asks `alpamayo_cancel` for it. That model writes into a file that the launcher has put into shared memory; the others
look there between their steps.
"""

import hashlib
import mmap
import os
from pathlib import Path

CANCELLED_FILE = "ALPAMAYO_CANCELLED_FILE"
"""An environment variable: the file's name."""

_PLACES = 256  # the oldest goes first: by then, whoever was meant has ended, or was never there
_PLACE = hashlib.sha256().digest_size  # every id needs as much, whatever its length


def create_file(path: Path) -> None:
    """By the launcher, before the models start."""
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(bytes(_PLACES * _PLACE))


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
