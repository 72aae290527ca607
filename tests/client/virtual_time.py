"""An event loop that never waits: when nothing can run, its time is at once that of the next timer."""

import asyncio
import selectors


class _Selector(selectors.DefaultSelector):
    now_s = 1000.0

    def select(self, timeout=None):
        assert timeout is not None, "nothing will ever happen again"
        self.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now_s

    def hold_up(self, seconds):
        """As a callback does that runs for so long."""
        self._virtual.now_s += seconds


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
