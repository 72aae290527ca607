"""Wakes a model's queue that sleeps though requests wait. A copy goes beside every `model.py`.

Where a queue has places or priorities, the batcher of Triton 2.51 now and then misses that its model has become idle,
and sleeps for half a second, or until another request comes. So that one comes, the model asks for one.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue

# A queue that is awake hands its next request over within a few milliseconds.
FIRST_LOOK_S = 0.01
LONGEST_PAUSE_S = 1.0  # a model that copies a large answer does not begin either, and is not to be asked all the time


class QueueWaker:
    """Looks from a thread of its own, after each execution unless the next has begun."""

    def __init__(
        self, waiting: Callable[[], int], wake: Callable[[], str | None], count: Callable[[str], None]
    ) -> None:
        """From other threads than the model's are called, and may fail,

            waiting: how many requests the queue has;
            wake: sends it another, waits for the answer, and says which one it was, or None if it was none.

        `count` is then told, from the model's thread: Triton 2.51 dies when several threads change its metrics.
        """
        self._waiting, self._wake, self._count = waiting, wake, count
        self._woken: SimpleQueue[str] = SimpleQueue()
        self._begun, self._ended = threading.Event(), threading.Event()
        _in_background(self._look, "queue waker")

    @contextmanager
    def executing(self) -> Iterator[None]:
        """The model is not idle in the block."""
        self._begun.set()
        try:
            yield
            with suppress(Empty):
                while True:
                    self._count(self._woken.get_nowait())
        finally:
            self._begun.clear()
            self._ended.set()

    def _look(self) -> None:
        while True:
            self._ended.wait()
            self._ended.clear()
            pause_s = FIRST_LOOK_S
            with suppress(Exception):  # the next execution may find the server better
                while not self._begun.wait(pause_s) and self._waiting():
                    # The queue may sleep again before it comes to this one.
                    _in_background(self._wake_once, "queue waker's knock")
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _wake_once(self) -> None:
        with suppress(Exception):
            if (which := self._wake()) is not None:
                self._woken.put(which)


def _in_background(run: Callable[[], None], name: str) -> None:
    threading.Thread(target=run, name=name, daemon=True).start()
