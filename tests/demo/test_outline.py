from math import pi, sqrt

import numpy as np
import pytest
from alpamayo_demo.drive.outline import outline, overlap, touched
from alpamayo_demo.road.ego import LENGTH_M, WIDTH_M
from alpamayo_demo.road.events import (
    LEFT_LANE_D,
    NUDGE_M,
    RIGHT_LANE_D,
    Cones,
    Crossing,
    LaneClosed,
    SpeedBump,
    StopSign,
    TrafficLight,
    Vehicle,
)
from worlds_by_hand import car, straight

SQUARE = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], dtype=float)
TRIANGLE = np.array([(0, 0), (4, 0), (0, 4)], dtype=float)
DIAMOND = np.array([(sqrt(2), 0), (0, sqrt(2)), (-sqrt(2), 0), (0, -sqrt(2))])


def at(shape: np.ndarray, x: float, y: float) -> np.ndarray:
    """Moved there."""
    return shape + np.array([x, y])


@pytest.mark.parametrize(
    ("a", "b", "together"),
    [
        (SQUARE, SQUARE, True),
        (SQUARE, at(SQUARE, 1.9, 1.9), True),
        (SQUARE, at(SQUARE, 2.1, 0), False),
        (SQUARE, at(SQUARE, 0, -2.1), False),
        (SQUARE, 0.1 * SQUARE, True),
        (SQUARE, at(DIAMOND, 2.3, 0), True),
        (SQUARE, at(DIAMOND, 2.5, 0), False),
        (SQUARE, at(DIAMOND, 1.8, 1.8), False),  # their bounding boxes overlap
        (SQUARE, at(DIAMOND, 1.6, 1.6), True),
        (TRIANGLE, at(SQUARE, 3.2, 3.2), False),  # only its long side is between them
        (TRIANGLE, at(SQUARE, 2.8, 2.8), True),
        (SQUARE, np.array([(-3.0, 0.5), (3.0, 0.5)]), True),  # a segment through it
        (SQUARE, np.array([(-3.0, 1.5), (3.0, 1.5)]), False),
        (SQUARE, np.array([(0.5, 3.0), (3.0, 0.5)]), False),  # across the corner, outside
        (SQUARE, np.array([(0.5, 1.2), (1.2, 0.5)]), True),
    ],
)
def test_shapes_overlap(a, b, together):
    assert overlap(a, b) is together
    assert overlap(b, a) is together


def test_the_outline_turns_with_the_car():
    np.testing.assert_allclose(np.ptp(outline(car(3.0, 1.0)), axis=0), (LENGTH_M, WIDTH_M))
    np.testing.assert_allclose(np.ptp(outline(car(3.0, 1.0, heading=pi / 2)), axis=0), (WIDTH_M, LENGTH_M))
    np.testing.assert_allclose(outline(car(3.0, 1.0, heading=0.7)).mean(axis=0), (3.0, 1.0), atol=1e-12)
    front_left = outline(car(d=0.0, heading=pi / 2))[0]
    np.testing.assert_allclose(front_left, (-WIDTH_M / 2, LENGTH_M / 2), atol=1e-12)


@pytest.mark.parametrize(
    ("event", "s", "d", "hit"),
    [
        (Vehicle(20.0, 0.0, 0.0), 20.0 - LENGTH_M / 2 - 0.1, 0.0, False),
        (Vehicle(20.0, 0.0, 0.0), 20.0 - LENGTH_M / 2 + 0.1, 0.0, True),
        (Vehicle(20.0, 0.0, 0.0), 22.0, WIDTH_M + 0.05, False),
        (Vehicle(20.0, 0.0, 0.0), 22.0, WIDTH_M - 0.05, True),
        (Cones(20.0, 0.0, on_the_right=True), 26.0, 0.0, True),  # 1.1 m from the middle, 0.27 m to their foot's edge
        (Cones(20.0, 0.0, on_the_right=True), 26.0, NUDGE_M, False),
        (Cones(20.0, 0.0, on_the_right=False), 26.0, -NUDGE_M, False),
        (LaneClosed(20.0, RIGHT_LANE_D), 20.0, RIGHT_LANE_D, True),
        (LaneClosed(20.0, RIGHT_LANE_D), 20.0, LEFT_LANE_D, False),
        (LaneClosed(20.0, LEFT_LANE_D), 20.0, RIGHT_LANE_D, False),
        (Crossing(20.0, 0.0, -3.2, 0.8), 21.0, 0.0, False),
        (Crossing(20.0, 0.0, 0.5, 0.8), 21.0, 0.0, True),
        (Crossing(20.0, 0.0, -1.5, -0.8), 21.0, 0.0, True),  # their suitcase
        (SpeedBump(20.0, 0.0), 20.5, 0.0, False),
        (StopSign(20.0, 0.0), 25.0, 0.0, False),
        (TrafficLight(20.0, 0.0, green=True), 27.0, 0.0, False),
    ],
)
def test_what_the_car_touches(event, s, d, hit):
    assert touched(straight(event), car(s, d)) is (event if hit else None)
