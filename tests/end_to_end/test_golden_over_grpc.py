"""The reference's answers, asked for through the client; images as pixels and as files."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from .golden_case import WITHOUT_CHANCE, golden_case
from .wire import picture


def as_files(frames, **options):
    return [[picture(frame, **options) for frame in camera] for camera in frames]


def decoded(files):
    """(cameras, frames, 3, height, width) uint8, by Pillow."""
    images = [[np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in camera] for camera in files]
    return np.moveaxis(np.array(images), -1, 2)


def assert_equal(prediction, other):
    for name in ("pred_xyz", "pred_rot", "cot", "action", "within_bounds", "reasoning_complete"):
        np.testing.assert_array_equal(getattr(prediction, name), getattr(other, name), err_msg=name)


@pytest.fixture(scope="module", params=WITHOUT_CHANCE)
def case(request):
    return golden_case(request.param)


@pytest.fixture(scope="module")
def prediction(client, case):
    return client.predict(*case.scene, **case.parameters, noise=case["noise"])


def test_equals_the_reference(prediction, case):
    np.testing.assert_allclose(prediction.pred_xyz, case["pred_xyz"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(prediction.pred_rot, case["pred_rot"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(prediction.action, case.action, atol=1e-3, rtol=0)
    np.testing.assert_array_equal(prediction.cot, case.meta["cot"])
    np.testing.assert_array_equal(prediction.reasoning_complete, [[case.complete]])
    np.testing.assert_array_equal(prediction.within_bounds, case.within_bounds)


def test_png_files_equal_their_pixels(client, case, prediction):
    files = as_files(case["frames"])
    assert_equal(client.predict(files, *case.scene[1:], **case.parameters, noise=case["noise"]), prediction)


def test_the_history_without_leading_axes_equals_the_one_with(client, case, prediction):
    frames, xyz, rot = case.scene
    assert xyz.shape == (1, 1, 16, 3)
    assert_equal(client.predict(frames, xyz[0, 0], rot[0, 0], **case.parameters, noise=case["noise"]), prediction)


def test_jpeg_files_equal_the_pixels_in_them(client, case, prediction):
    files = as_files(case["frames"], format="JPEG", quality=60)
    from_files = client.predict(files, *case.scene[1:], **case.parameters, noise=case["noise"])
    from_pixels = client.predict(decoded(files), *case.scene[1:], **case.parameters, noise=case["noise"])
    assert_equal(from_files, from_pixels)
    assert from_files.pred_xyz.shape == prediction.pred_xyz.shape
    assert np.isfinite(from_files.pred_xyz).all()
    assert not np.array_equal(from_files.pred_xyz, prediction.pred_xyz)  # the images matter


@pytest.mark.parametrize(("format", "mode"), [("PNG", "L"), ("JPEG", "L"), ("PNG", "P")])
def test_grey_and_palette_files_become_rgb(client, format, mode):
    case = golden_case("no_stop_token")
    files = as_files(case["frames"], format=format, mode=mode)
    ask = {**case.parameters, "noise": case["noise"]}
    assert_equal(client.predict(files, *case.scene[1:], **ask), client.predict(decoded(files), *case.scene[1:], **ask))


def test_files_may_differ_in_size(client):
    """One image arrives in the size that the other is resized to: nothing may change."""
    case = golden_case("no_stop_token")
    frames = torch.from_numpy(case["frames"][0])
    resized = F.interpolate(frames, (320, 576), mode="bicubic", antialias=True).numpy()
    mixed = [[picture(case["frames"][0, 0]), picture(resized[1])]]
    ask = {**case.parameters, "noise": case["noise"]}
    assert_equal(client.predict(mixed, *case.scene[1:], **ask), client.predict(*case.scene, **ask))
