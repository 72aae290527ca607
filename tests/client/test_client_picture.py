import warnings
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from alpamayo_client import Scene
from alpamayo_client.panels import speeds_mps
from alpamayo_client.plot import MAX_LINES, draw, headline, newest_images, save_picture, thought_lines
from alpamayo_client.prediction import parse_response
from alpamayo_client.text import printable, wrapped
from little_triton import answer, response_message
from tritonclient.grpc import InferResult

NOT_SHOWN = "\N{REPLACEMENT CHARACTER}"


def predict(sets=1, samples=1, **changes):
    return parse_response(InferResult(response_message(answer(sets, samples, **changes))))


def thoughts(*texts):
    return np.array([[[text.encode() for text in texts]]], dtype=np.object_)


@pytest.mark.parametrize(("sets", "samples"), [(1, 1), (2, 16)])
def test_a_png_of_1500_pixels(tmp_path, scene, sets, samples):
    path = tmp_path / "prediction.png"
    save_picture(path, scene, predict(sets, samples))
    with PIL.Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1500
        assert len(picture.convert("RGB").getcolors(maxcolors=2**24)) > 50  # not blank


def test_any_text_can_be_drawn(tmp_path, scene):
    texts = ["costs $5 or $\\frac{$", "\x00\x1b[31m\u202e", "日本語 \U000e0041", "W" * 3000, "", " \n\t"]
    prediction = predict(samples=6, cot=thoughts(*texts))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns about glyphs that its font lacks
        save_picture(tmp_path / "prediction.png", scene, prediction)
    lines = thought_lines(prediction)
    assert (0, "costs $5 or $\\frac{$") in lines
    assert (1, f"{NOT_SHOWN}{NOT_SHOWN}[31m{NOT_SHOWN}") in lines
    assert lines[-1] == (5, "(empty)")


def test_a_car_that_stands_still(tmp_path, frames):
    rot = np.broadcast_to(np.eye(3), (16, 3, 3))
    still = predict(pred_xyz=np.zeros((1, 1, 1, 64, 3), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_picture(tmp_path / "prediction.png", Scene(frames, np.zeros((16, 3)), rot), still)


def test_what_is_drawn(scene):
    figure = draw(scene, predict(sets=2, samples=3))
    from_above, *cameras, speed, curvature, reasoning = figure.axes
    left, right = from_above.get_xlim()
    assert left > right  # y points left
    assert [axes.get_title() for axes in cameras] == ["camera 0 at t0", "camera 1 at t0"]
    straight = [line for line in from_above.lines if len(line.get_xdata()) == 65]
    assert len(straight) == 2 * 3 + 1  # and what was driven
    np.testing.assert_allclose(straight[0].get_ydata()[[0, -1]], [0.0, 57.6], rtol=1e-6)
    np.testing.assert_allclose(speed.lines[0].get_ydata(), 9.0, rtol=1e-5)
    assert len(curvature.lines) == 2 * 3 + 1
    assert [text.get_text() for text in reasoning.texts] == ["Thought 0.", "Thought 1.", "Thought 2."]


def test_without_the_thoughts_that_are_written_elsewhere(scene):
    with_them, without = draw(scene, predict()), draw(scene, predict(), with_thoughts=False)
    assert [axes.get_title() for axes in without.axes] == [axes.get_title() for axes in with_them.axes[:-1]]
    assert without.get_figheight() < with_them.get_figheight()


def test_cameras_have_their_names_and_fill_their_row(scene):
    """The scene's two are 48 x 32; thirteen are in rows of four."""
    figure = draw(replace(scene, camera_names=["front $wide$", "a\x1bb"]), predict())
    figure.draw_without_rendering()
    _, *cameras, _, _, _ = figure.axes
    assert [axes.get_title() for axes in cameras] == ["front $wide$ at t0", f"a{NOT_SHOWN}b at t0"]
    assert all(axes.get_window_extent().width > 400 for axes in cameras)
    many = replace(scene, image_frames=[scene.image_frames[0]] * 13)
    assert len(draw(many, predict()).axes) == 13 + 4


def test_many_long_thoughts_are_shortened_and_cut_off_ones_marked():
    prediction = predict(samples=32, reasoning_complete=np.zeros((1, 1, 32), bool))
    lines = thought_lines(prediction)
    assert len(lines) == MAX_LINES
    assert lines[0] == (0, "[cut off] Thought 0.")
    assert lines[-1][1] == "… and 15 more"
    long = thought_lines(predict(samples=2, cot=thoughts("word " * 1000, "short")))
    assert len(long) == MAX_LINES // 2 + 1
    assert long[-2][1].endswith(" …")


def test_the_newest_image_of_each_camera(scene, frames, history):
    for images in [newest_images(scene), newest_images(Scene(frames, *history))]:
        np.testing.assert_array_equal(images, frames[:, -1].transpose(0, 2, 3, 1))


def test_the_headline_says_how_good_it_is(scene, frames, history):
    assert headline(scene, predict(samples=2)).endswith("seed 7   ·   minADE@2 0.00 m")
    assert headline(Scene(frames, *history), predict()) == "1 thought   ·   1 trajectory   ·   seed 7"


def test_speeds():
    np.testing.assert_allclose(speeds_mps(np.array([[0, 0, 0], [0.3, 0.4, 9], [0.3, 0.4, 0]])), [5, 0])


def test_text():
    assert printable("a\n  b\x07", str.isascii) == f"a b{NOT_SHOWN}"
    assert wrapped("one two three", 8, 2) == ["one two", "three"]
    assert wrapped("one two three", 8, 1) == ["one …"]
    assert wrapped("", 8, 1) == [""]
