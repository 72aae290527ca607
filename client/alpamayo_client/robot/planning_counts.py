"""What a planning loop has done so far."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlanningCounts:
    """What became of the ticks, and of what was asked at them.

    ticks = asked + refused + unchanged + dropped, and one that may wait;
    asked = answered + cancelled + timed_out + failed + unchosen, and one that may be under way.
    """

    ticks: int = 0
    asked: int = 0
    refused: int = 0
    """No scene to ask about: the buffer raised NoSceneError, or it was older than `max_age_s`."""
    unchanged: int = 0
    """The scene was one that had been asked about."""
    dropped: int = 0
    """Another tick came before this one's turn: its newer observation was asked about instead."""
    answered: int = 0
    late: int = 0
    """Of the answered: after `budget_s`, with nothing newer to ask about."""
    cancelled: int = 0
    """Not answered within `budget_s`, and given up for a newer observation; or when the loop ended."""
    timed_out: int = 0
    """Not answered before its observation was `max_age_s` old."""
    failed: int = 0
    """The server refused, failed, or was not there."""
    unchosen: int = 0
    """An answer came, and `choose` raised, or what it gave is no trajectory of it."""
