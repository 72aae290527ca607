"""How often, and how soon, a server that died is started again."""

from collections import deque

WINDOW_S = 600
LONGEST_WAIT_S = 60


class Restarts:
    """At most so many in ten minutes; the first at once, each further one after twice the wait: 0, 1, 2, 4 ... 60 s."""

    def __init__(self, at_most: int) -> None:
        self.at_most = at_most
        self._times: deque[float] = deque()

    def next_wait_s(self, now_s: float) -> int | None:
        """Counts one more restart, and returns how long to wait before it; None if there were too many."""
        while self._times and now_s - self._times[0] > WINDOW_S:
            self._times.popleft()
        before = len(self._times)
        if before >= self.at_most:
            return None
        self._times.append(now_s)
        return min(1 << (before - 1), LONGEST_WAIT_S) if before else 0
