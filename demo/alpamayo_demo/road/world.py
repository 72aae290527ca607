"""A road and what happens on it."""

from dataclasses import dataclass

from .centreline import Centreline
from .events import Event, Vehicle


@dataclass(frozen=True)
class Scenery:
    """A box beside the road that means nothing: a tree, a house. Metres; colour is RGB from 0 to 1."""

    s: float
    d: float
    length: float
    width: float
    height: float
    colour: tuple[float, float, float]


@dataclass
class World:
    """Two lanes in one direction; `lane_d` is the middle of the car's own at the start, one of LANES_D."""

    road: Centreline
    lane_d: float
    events: list[Event]
    traffic: list[Vehicle]
    """In the other lane: nothing that the driver has to mind."""
    scenery: list[Scenery]
    dusk: float
    """0 by day, 1 at dusk."""
    asphalt: float
    """How bright the road is; 1 is usual."""

    def path_d(self, s: float) -> float:
        """Where the driver wants to be at s, metres to the left of the road's middle."""
        return self.lane_d + sum(event.offset_m(s) for event in self.events)
