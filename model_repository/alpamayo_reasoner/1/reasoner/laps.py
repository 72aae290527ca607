"""A request's time, shared out among its stages."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

Enter = Callable[[str], None]
"""Told that from here on it is this stage's time."""


def nobody_asks(stage: str) -> None:
    """An Enter for whoever does not want to know."""


class Laps:
    """A stage lasts until the next one is entered."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._laps: list[tuple[str, Any]] = []

    def enter(self, stage: str) -> None:
        """On a GPU the moment is when that gets here: the host runs ahead, and is not made to wait."""
        self._laps.append((stage, _now_on_gpu() if self._on_gpu else time.monotonic()))

    def seconds(self) -> dict[str, float]:
        """Of every stage that was entered, until now; the one under way is the last. Waits for the GPU."""
        self.enter("")
        if self._on_gpu:
            self._laps[-1][1].synchronize()
        total: dict[str, float] = {}
        for (stage, start), (_, end) in pairwise(self._laps):
            seconds = start.elapsed_time(end) / 1000 if self._on_gpu else end - start
            total[stage] = total.pop(stage, 0.0) + seconds
        return total


def _now_on_gpu() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
