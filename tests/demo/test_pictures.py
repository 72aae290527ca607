from pathlib import Path

import numpy as np
from alpamayo_client import Prediction
from alpamayo_demo.drive import planners
from alpamayo_demo.drive.loop import drive
from alpamayo_demo.pictures.animation import HEIGHT_PX, WIDTH_PX, save_animation
from alpamayo_demo.pictures.camera_view import camera_view
from alpamayo_demo.pictures.from_above import from_above
from alpamayo_demo.pictures.ink import FINER, PREDICTED, Trail, fitted, font, pieces
from alpamayo_demo.pictures.sheet import CELL_PX, HEADER_PX, VIEW_PX, Answered, sheet
from alpamayo_demo.road.cameras import FRONT_WIDE
from alpamayo_demo.road.routes import route
from alpamayo_demo.road.scenes import Split, moment, observe
from alpamayo_demo.road.situations import Situation
from PIL import Image
from worlds_by_hand import car, straight

AHEAD = Trail(np.array([(0.0, 0.0), (60.0, 0.0)]), PREDICTED)


def blue(image: Image.Image) -> np.ndarray:
    """(rows, columns) of bool."""
    red, _, blue = np.moveaxis(np.asarray(image).astype(int), -1, 0)
    return (blue > 180) & (red < 60)


def answered(situation: Situation, thought: str) -> Answered:
    found = moment(Split.HELD_OUT, 0, situation)
    scene = observe(found)
    prediction = Prediction(
        pred_xyz=np.tile(scene.ego_future_xyz, (1, 1, 2, 1, 1)),
        pred_rot=np.zeros((1, 1, 2, 64, 3, 3), np.float32),
        cot=np.array([[[thought, situation.value]]], dtype=np.object_),
        action=np.tile(scene.action, (1, 1, 2, 1, 1)),
        within_bounds=np.ones((1, 1, 2), bool),
        reasoning_complete=np.ones((1, 1, 2), bool),
        seed=0,
        denoiser_runner="torch",
    )
    return Answered(found, scene, prediction)


def test_a_way_is_drawn_where_the_camera_would_see_it():
    width = 320
    drawn = blue(camera_view(straight(), car(d=0.0), FRONT_WIDE, width, [AHEAD]))
    scale = width * FINER / 160
    for x in (4.0, 8.0, 20.0):
        column, row = (FRONT_WIDE.project([x, 0.0, 0.0]) * scale).astype(int)
        assert drawn[row, column], x
    assert not drawn[: int(FRONT_WIDE.project([60.0, 0.0, 0.0])[1] * scale) - 2 * FINER].any()


def test_a_way_behind_the_car_is_not_in_its_camera():
    behind = Trail(np.array([(-30.0, 0.0), (-5.0, 0.0)]), PREDICTED)
    assert not blue(camera_view(straight(), car(d=0.0), FRONT_WIDE, 320, [behind])).any()


def test_from_above_a_way_ahead_goes_up_and_left_is_left():
    ahead = blue(from_above(straight(), car(d=0.0, heading=0.0), 100, 200, [AHEAD]))
    rows, columns = np.nonzero(ahead)
    assert np.ptp(rows) > 0.75 * 200 * FINER
    np.testing.assert_allclose(columns.mean(), 100 * FINER / 2, atol=FINER)
    left = blue(from_above(straight(), car(d=0.0), 100, 200, [Trail(np.array([(0.0, 0.0), (10.0, 10.0)]), PREDICTED)]))
    assert np.nonzero(left)[1].mean() < 100 * FINER / 2 - 10


def test_dashes_have_gaps():
    way = np.array([(0.0, 0.0), (24.0, 0.0)])
    dashes = pieces(way, dashed=True)
    assert len(dashes) == 10
    assert all(np.ptp(dash[:, 0]) < 1.3 for dash in dashes)
    assert sum(len(piece) for piece in pieces(way, dashed=False)) == 81


def test_a_long_or_broken_thought_fits():
    text = fitted("Why \x1b[31m " * 100, 15, 300.0)
    assert text.endswith("…")
    assert "\x1b" not in text
    assert font(15, False).getlength(text) <= 300 * FINER
    assert fitted("", 15, 300.0) == "(no thought)"


def test_the_sheet_knows_right_from_wrong():
    good, bad = answered(Situation.RED_LIGHT, "Stop at the red light."), answered(Situation.RED_LIGHT, "Nonsense")
    assert [good.right(0), bad.right(0), bad.right(1)] == [True, False, True]
    for answer, is_right in ((good, True), (bad, False)):
        caption = np.asarray(sheet([answer])).astype(int)[HEADER_PX + VIEW_PX :, : CELL_PX[0]]
        red, green, _ = np.moveaxis(caption, -1, 0)
        assert (green > red + 60).any() == is_right
        assert (red > green + 60).any() != is_right


def test_an_animation_lasts_as_long_as_its_drive(tmp_path: Path):
    save_animation(tmp_path / "drive.gif", drive(*route(0), planners.driver, 1.0))
    with Image.open(tmp_path / "drive.gif") as animation:
        assert (animation.n_frames, animation.info["duration"], animation.size) == (11, 100, (WIDTH_PX, HEIGHT_PX))
