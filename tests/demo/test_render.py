from math import cos, radians, sin, tan

import numpy as np
import pytest
from alpamayo_demo.road.cameras import CAMERAS, CROSS_LEFT, CROSS_RIGHT, FRONT_TELE, FRONT_WIDE, HEIGHT_PX, WIDTH_PX
from alpamayo_demo.road.events import LANE_M, Cones, Crossing, StopSign, TrafficLight, Vehicle
from alpamayo_demo.road.render import LINE_M, render
from alpamayo_demo.road.solids import GREEN, LETTER_M, ORANGE, RED, WHITE
from alpamayo_demo.road.world import Scenery
from worlds_by_hand import car, close, straight

PURPLE = (0.6, 0.0, 0.7)


def middle(found: np.ndarray) -> np.ndarray:
    """Column and row of the middle of the pixels that are true, as Camera.project counts."""
    rows, columns = np.nonzero(found)
    return np.array([columns.min() + columns.max() + 1, rows.min() + rows.max() + 1]) / 2


def post(distance: float, bearing_deg: float) -> Scenery:
    """A purple post, 0.5 m thick and 3 m high, around a point at that bearing from the world's origin."""
    x, y = distance * cos(radians(bearing_deg)), distance * sin(radians(bearing_deg))
    return Scenery(x - 0.25, y, 0.5, 0.5, 3.0, PURPLE)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
@pytest.mark.parametrize("off_axis", [-0.25, 0.0, 0.25])
def test_a_post_stands_where_the_calibration_says(camera, off_axis):
    bearing = camera.yaw_deg + off_axis * camera.horizontal_fov_deg
    thing = post(14.0, bearing)
    image = render(straight(scenery=(thing,)), car(d=0.0), camera)
    purple = close(image, PURPLE, 60) & (image[2].astype(int) - image[1] > 50)
    corners = [(thing.s + a, thing.d + b, z) for a in (0, 0.5) for b in (-0.25, 0.25) for z in (0.0, 3.0)]
    wanted = np.clip(camera.project(corners), 0, (WIDTH_PX, HEIGHT_PX))
    rows, columns = np.nonzero(purple)
    assert columns.min() == pytest.approx(wanted[:, 0].min(), abs=1)
    assert columns.max() + 1 == pytest.approx(wanted[:, 0].max(), abs=1)
    assert rows.min() == pytest.approx(wanted[:, 1].min(), abs=1)
    assert rows.max() + 1 == pytest.approx(wanted[:, 1].max(), abs=1)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_left_is_left_and_near_is_low(camera):
    ahead, left = np.array([cos(radians(camera.yaw_deg)), sin(radians(camera.yaw_deg)), 0]) * 20, np.zeros(3)
    left[:2] = -ahead[1] / 20, ahead[0] / 20
    (straight_on, row), (column_left, _), (_, row_near) = camera.project([ahead, ahead + left, ahead * 0.6])
    assert column_left < straight_on
    assert row_near > row


@pytest.mark.parametrize(
    ("camera", "point", "pixel"),
    [
        # All cameras are 1.5 m high; half of the 160 columns see 15 or 60 degrees.
        (FRONT_TELE, (21.5, 0.0, 0.0), (80.0, 48 + 80 / tan(radians(15)) * 1.5 / 20)),
        (FRONT_TELE, (21.5, 2.0, 1.5), (80 - 80 / tan(radians(15)) * 2 / 20, 48.0)),
        # They are pitched by 8 degrees, downwards: what is level with one lies above its image's middle.
        (FRONT_WIDE, (51.5, 0.0, 1.5), (80.0, 48 - 80 / tan(radians(60)) * tan(radians(8)))),
        (FRONT_WIDE, (1.5 + 1.5 / tan(radians(8)), 0.0, 0.0), (80.0, 48.0)),
        (CROSS_LEFT, (1.2 + 30 * cos(radians(55)), 0.8 + 30 * sin(radians(55)), 1.5 - 30 * tan(radians(8))), (80, 48)),
        (CROSS_RIGHT, (1.2 + 9 * cos(radians(55)), -0.8 - 9 * sin(radians(55)), 1.5 - 9 * tan(radians(8))), (80, 48)),
    ],
)
def test_a_point_on_the_road_projects_where_trigonometry_says(camera, point, pixel):
    np.testing.assert_allclose(camera.project(point), pixel, atol=1e-9)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_projecting_a_pixels_ray_leads_back_to_the_pixel(camera):
    columns, rows = np.array([0.5, 80.0, 159.5]), np.array([0.5, 48.0, 95.5])
    points = np.array(camera.position) + 7.0 * camera.rays(columns, rows)
    wanted = np.stack(np.meshgrid(columns, rows), axis=-1)
    np.testing.assert_allclose(camera.project(points), wanted, atol=1e-9)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_what_is_behind_a_camera_is_not_in_its_picture(camera):
    around = straight(scenery=(post(14.0, camera.yaw_deg + 180.0),))
    np.testing.assert_array_equal(render(around, car(d=0.0), camera), render(straight(), car(d=0.0), camera))
    assert np.isnan(camera.project([-20 * cos(radians(camera.yaw_deg)), -20 * sin(radians(camera.yaw_deg)), 0])).all()


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_solid_that_reaches_behind_the_camera_is_cut_there(side):
    wall = Scenery(-4.0, side * 8.0, 60.0, 2.0, 3.0, PURPLE)
    image = render(straight(scenery=(wall,)), car(d=0.0), FRONT_WIDE)
    seen = (image[2].astype(int) - image[1] > 50) & (image[0].astype(int) - image[1] > 50)
    assert seen.sum() > 500
    assert not seen[:, WIDTH_PX // 2 :].any() if side > 0 else not seen[:, : WIDTH_PX // 2].any()


@pytest.mark.parametrize("d", [-LANE_M, LANE_M])
@pytest.mark.parametrize("s", [6.0, 10.0])
def test_the_road_is_as_wide_as_its_lanes(s, d):
    image = render(straight(), car(d=0.0), FRONT_WIDE).min(axis=0)
    (column, row), (inner, _) = FRONT_WIDE.project([(s, d, 0), (s, d - np.sign(d) * 3 * LINE_M, 0)])
    assert image[int(row), int(column)] > 140
    assert image[int(row), int(inner)] < 110


def test_the_lanes_are_divided_by_dashes():
    image = render(straight(), car(d=0.0), FRONT_TELE).min(axis=0)
    (dash, gap) = (FRONT_TELE.project([s, 0.0, 0]) for s in (20.25, 24.75))
    assert image[int(dash[1]), int(dash[0])] > 150
    assert image[int(gap[1]), int(gap[0])] < 120


def test_a_turned_car_sees_a_turned_world():
    image = render(straight(scenery=(post(14.0, 0.0),)), car(d=0.0, heading=0.3), FRONT_WIDE)
    found = middle(close(image, PURPLE, 60) & (image[2].astype(int) - image[1] > 50))
    assert found[0] == pytest.approx(FRONT_WIDE.project([14 * cos(0.3), -14 * sin(0.3), 0])[0], abs=2)


@pytest.mark.parametrize("green", [False, True])
@pytest.mark.parametrize("dusk", [0.0, 1.0])
def test_the_light_shines_where_it_hangs(green, dusk):
    light = TrafficLight(20.0, 0.0, green=green)
    image = render(straight(light, dusk=dusk), car(d=0.0), FRONT_TELE)
    shining, ahead = close(image, GREEN if green else RED), image.shape[2] // 2
    for d, seen in (
        (-LANE_M - 1.0, np.arange(2 * ahead) > ahead),
        (LANE_M + 1.0, np.arange(2 * ahead) < ahead),
    ):
        wanted = FRONT_TELE.project([26.88, d, 2.95 if green else 4.05])
        np.testing.assert_allclose(middle(shining & seen), wanted, atol=1.0)
    assert not close(image, RED if green else GREEN).any()


@pytest.mark.parametrize("dusk", [0.0, 1.0])
def test_lamps_tell_a_vehicle_that_brakes_or_has_broken_down(dusk):
    def seen(speed: float) -> tuple[bool, bool]:
        image = render(straight(Vehicle(12.0, 0.0, speed), dusk=dusk), car(d=0.0), FRONT_TELE)
        return bool(close(image, RED, 25).any()), bool(close(image, ORANGE, 25).any())

    assert [seen(speed) for speed in (9.0, 4.0, 0.0)] == [(False, False), (True, False), (False, True)]


def test_dusk_is_darker():
    by_day, at_dusk = (render(straight(dusk=dusk), car(d=0.0), FRONT_WIDE).mean() for dusk in (0.0, 1.0))
    assert at_dusk < 0.7 * by_day


def test_a_near_solid_hides_a_far_one():
    behind, before = Scenery(30.0, 0.0, 1.0, 4.0, 3.0, PURPLE), Vehicle(10.0, 0.0, 9.0)
    alone = render(straight(scenery=(behind,)), car(d=0.0), FRONT_TELE)
    hidden = render(straight(before, scenery=(behind,)), car(d=0.0), FRONT_TELE)
    column, row = FRONT_TELE.project([30.0, 0.0, 0.9]).astype(int)
    assert close(alone, PURPLE, 60)[row, column]
    assert not close(hidden, PURPLE, 60)[row, column]


def test_a_stop_sign_says_stop():
    """Where its letters have strokes it is white, between them it is red: the T's stem, the space beside it, the P."""
    image = render(straight(StopSign(9.0, 0.0)), car(d=LANE_M), FRONT_TELE)
    sign = np.array([13.86, 0.9, 2.4])  # the plate of the left one, in the ego frame
    for left, up, colour in (
        (1.7, -1.0, WHITE),
        (3.0, -1.0, RED),
        (-4.0, 0.0, WHITE),
        (-6.0, 1.0, WHITE),
        (-6.0, -1.5, RED),
    ):
        column, row = FRONT_TELE.project(sign + LETTER_M * np.array([0.0, left, up])).astype(int)
        assert close(image, colour, 110)[row, column], (left, up, image[:, row, column])


@pytest.mark.parametrize(("event", "s"), [(StopSign(15.0, 0.0), 15.3), (Crossing(15.0, 0.0, -5.0, 0.8), 16.75)])
def test_lines_are_painted_across_the_road(event, s):
    image = render(straight(event), car(d=0.0), FRONT_TELE).min(axis=0)
    column, row = FRONT_TELE.project([s, 0.0, 0]).astype(int)
    assert image[row, column] > 180


def test_cones_stand_on_their_side_of_the_lane():
    for on_the_right in (False, True):
        image = render(straight(Cones(18.0, 0.0, on_the_right=on_the_right)), car(d=0.0), FRONT_TELE)
        _, columns = np.nonzero(close(image, ORANGE, 60))
        assert len(columns)
        assert (columns > WIDTH_PX / 2).all() if on_the_right else (columns < WIDTH_PX / 2).all()
