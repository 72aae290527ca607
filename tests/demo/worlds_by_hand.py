"""Worlds that a test can do the arithmetic for: a straight road along x, and what the test puts onto it."""

import numpy as np
from alpamayo_demo.road.centreline import Centreline, curvature_profile
from alpamayo_demo.road.ego import Ego
from alpamayo_demo.road.events import RIGHT_LANE_D, Event
from alpamayo_demo.road.world import Scenery, World


def straight(
    *events: Event, dusk: float = 0.0, lane_d: float = RIGHT_LANE_D, scenery: tuple[Scenery, ...] = ()
) -> World:
    road = Centreline(curvature_profile(300.0, -40.0, []), -40.0)
    return World(road, lane_d, list(events), [], list(scenery), dusk, 1.0)


def car(s: float = 0.0, d: float = RIGHT_LANE_D, heading: float = 0.0, speed: float = 10.0) -> Ego:
    """On a straight road."""
    return Ego(s, d, heading, speed, s, d)


def close(image: np.ndarray, colour: tuple[float, float, float], tolerance: float = 40.0) -> np.ndarray:
    """(height, width) of bool: where a (3, height, width) image has a colour given from 0 to 1."""
    return (np.abs(image.astype(float) - 255 * np.array(colour)[:, None, None]) < tolerance).all(axis=0)
