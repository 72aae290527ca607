"""What a command began, ended with it: Python dies of SIGTERM without a chance to clean up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM


@contextmanager
def cleaning_up_on_sigterm() -> Iterator[None]:
    """In the block, SIGTERM raises SystemExit(143), once: servers are stopped then, and temporary folders removed.

    For the main thread of a command.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not stop the cleaning up
        raise SystemExit(EXIT_CODE)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
