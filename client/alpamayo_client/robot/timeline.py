"""What one sensor gave, by time, and no more of it than is needed."""

from bisect import bisect_left
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidRequestError

Value = TypeVar("Value")


class Timeline(Generic[Value]):
    """Values in the order of their times, whatever order they come in; the same time again replaces.

    Kept is what is at most `keep_us` older than the newest, and of that the newest `most`.
    """

    def __init__(self, name: str, keep_us: int, most: int) -> None:
        """`name`: for messages."""
        self.name = name
        self.times_us: list[int] = []
        self.values: list[Value] = []
        self._keep_us = keep_us
        self._most = most

    def put(self, time_us: int, value: Value) -> None:
        """Raises InvalidRequestError if it is too old to be kept."""
        if self.times_us and time_us < self.times_us[-1] - self._keep_us:
            raise InvalidRequestError(
                f"{self.name}: got one {(self.times_us[-1] - time_us) / 1000:.1f} ms older than the newest, wanted at "
                f"most {self._keep_us / 1000:.1f} ms: it came too late; if the clock was set back, or the newest one's "
                "time is wrong, clear() the buffer"
            )
        i = bisect_left(self.times_us, time_us)
        same = self.times_us[i : i + 1] == [time_us]
        self.times_us[i : i + same] = [time_us]
        self.values[i : i + same] = [value]
        excess = max(bisect_left(self.times_us, self.times_us[-1] - self._keep_us), len(self.times_us) - self._most)
        if excess > 0:
            del self.times_us[:excess], self.values[:excess]

    def snapshot(self) -> tuple[NDArray[np.int64], list[Value]]:
        """The times (n,), ascending, and the value of each, as they are now."""
        return np.array(self.times_us, dtype=np.int64), list(self.values)
