import numpy as np
import pytest
from alpamayo_demo.road.centreline import STEP_M, TRANSITION_M, Centreline, curvature_profile

ROADS = {
    "straight": [],
    "left": [(20.0, 90.0, 1 / 40)],
    "right": [(20.0, 90.0, -1 / 30)],
    "winding": [(0.0, 50.0, 1 / 60), (60.0, 120.0, -1 / 35)],
}


def road_of(curves: list[tuple[float, float, float]]) -> Centreline:
    return Centreline(curvature_profile(200.0, -40.0, curves), -40.0)


@pytest.mark.parametrize("curves", ROADS.values(), ids=ROADS)
def test_locating_undoes_to_world(curves):
    road = road_of(curves)
    s, d = (grid.ravel() for grid in np.meshgrid(np.linspace(-30, 190, 111), np.linspace(-6, 9, 16)))
    found_s, found_d = road.locate(road.to_world(s, d), s + 1.0)
    np.testing.assert_allclose(found_s, s, atol=0.02)
    np.testing.assert_allclose(found_d, d, atol=0.002)


def test_a_road_of_one_curvature_is_a_circle():
    radius = 50.0
    road = Centreline(np.full(801, 1 / radius), -40.0)
    at = np.linspace(-40, 350, 500)
    np.testing.assert_allclose(np.linalg.norm(road.at(at)[:, :2] - (0, radius), axis=1), radius, atol=0.005)
    np.testing.assert_allclose(np.linalg.norm(road.to_world(at, 3.0) - (0, radius), axis=1), radius - 3, atol=0.005)
    np.testing.assert_allclose(road.at(at)[:, 2], at / radius, atol=1e-9)


def test_the_origin_is_at_zero_and_looks_along_x():
    np.testing.assert_allclose(road_of(ROADS["winding"]).at(0.0)[:3], 0, atol=1e-12)


def test_s_is_metres_along_the_line():
    road = road_of(ROADS["winding"])
    steps = np.linalg.norm(np.diff(road.xy, axis=0), axis=1)
    np.testing.assert_allclose(steps, STEP_M, rtol=1e-4)


def test_one_point_is_the_same_as_many():
    road = road_of(ROADS["winding"])
    for s in (-60.0, -40.0, 0.1, 77.7, 199.9, 300.0):
        np.testing.assert_allclose(road.point(s), road.at(s), atol=1e-12)


def test_curves_begin_and_end_gently():
    curvature = curvature_profile(200.0, -40.0, ROADS["left"])
    assert curvature.max() == pytest.approx(1 / 40)
    assert np.abs(np.diff(curvature)).max() <= STEP_M / TRANSITION_M / 40 + 1e-12


def test_a_coarse_s_is_near_enough_for_locate():
    road = road_of(ROADS["right"])
    s, d = np.linspace(-30, 190, 50), np.tile([-5.0, 8.0], 25)
    xy = road.to_world(s, d)
    found, _ = road.locate(xy, road.coarse_s(xy, -40, 200))
    np.testing.assert_allclose(found, s, atol=0.02)
