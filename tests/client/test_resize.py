"""What the robot resizes is what the server would have resized, bit for bit."""

import numpy as np
import pytest
import torch
from alpamayo_client import InvalidRequestError, model_size, resize_for_model
from alpamayo_client.robot.bicubic import between
from alpamayo_client.robot.resize import resize
from reasoner import images as server

METADATA = {"images": {"multiple_of": 32, "min_pixels": 163840, "max_pixels": 196608}}  # the released model's
LIMITS = METADATA["images"]["min_pixels"], METADATA["images"]["max_pixels"]

CAMERAS = [(1080, 1920), (1200, 1920), (720, 1280), (2160, 3840), (480, 640), (1216, 1936), (120, 208), (1919, 1079)]
SIZES = [  # from (height, width), to
    *((size, server.smart_resize(*size, *LIMITS)) for size in CAMERAS),
    ((100, 101), (37, 53)),
    ((37, 53), (100, 101)),
    ((64, 200), (64, 96)),  # rows stay
    ((200, 64), (96, 64)),  # columns stay
    ((96, 160), (96, 160)),
    ((33, 6000), (32, 4000)),
    ((8192, 41), (32, 32)),
    ((1, 7), (5, 3)),
    ((7, 1), (1, 1)),
]


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)


def gradient(height, width):
    down, right = np.linspace(0, 255, height)[:, None], np.linspace(255, 0, width)
    return np.stack([np.broadcast_to(it, (height, width)) for it in (down, right, (down + right) / 2)]).astype(np.uint8)


def black_and_white(height, width):
    """The filter goes beyond both ends of the range."""
    return np.where(noise(height, width) < 128, 0, 255).astype(np.uint8)


def black(height, width):
    return np.zeros((3, height, width), np.uint8)


def white(height, width):
    return np.full((3, height, width), 255, np.uint8)


PICTURES = [noise, gradient, black_and_white, black, white]


def resized_by_the_server(frame, height, width):
    return server._resize(torch.from_numpy(frame)[None], height, width)[0].numpy()


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_bits_are_the_server_s(picture, old, new):
    frame = picture(*old)
    np.testing.assert_array_equal(resize(frame, *new), resized_by_the_server(frame, *new))


def test_bits_are_the_server_s_for_any_sizes():
    """Random ones, enough to meet a rounding that is off."""
    random = np.random.default_rng(1)
    for _ in range(150):
        old, new = random.integers(1, 300, 2), random.integers(1, 200, 2)
        frame = random.integers(0, 256, (3, *old), dtype=np.uint8)
        wanted = resized_by_the_server(frame, *map(int, new))
        np.testing.assert_array_equal(resize(frame, *map(int, new)), wanted, err_msg=f"{old} to {new}")


def test_float32_is_taken_where_it_is_exact_and_nowhere_else():
    assert (between(1920, 576).kind, between(1920, 576).precision) == (np.float32, 16)
    assert (between(3840, 576).kind, between(3840, 576).precision) == (np.float64, 17)
    for old, new in ((1920, 576), (1080, 320), (100, 300)):
        for block in between(old, new).blocks:
            most = 128 * np.abs(block.weights.astype(np.float64)).sum(axis=1) + np.abs(block.rounding[:, 0])
            assert most.max() <= 2**24


def test_the_model_s_size_is_the_server_s():
    random = np.random.default_rng(2)
    sizes = [*CAMERAS, *random.integers(32, 3000, (500, 2)).tolist(), (32, 6400), (8192, 41), (100, 140)]
    for limits in (LIMITS, (15360, 15360)):
        metadata = {"images": {"multiple_of": server.CELL, "min_pixels": limits[0], "max_pixels": limits[1]}}
        for height, width in sizes:
            assert model_size(height, width, metadata) == server.smart_resize(height, width, *limits)
    assert model_size(1080, 1920, METADATA) == (320, 576)


@pytest.mark.parametrize("size", [*CAMERAS, (32, 6400), (8192, 41), (140, 1300)])
def test_patches_are_the_same_whoever_resizes(size):
    """Very long frames are among them, which the server would resize a second time."""
    frames = np.stack([noise(*size), gradient(*size)])[None]
    ours = resize_for_model(frames, METADATA)
    for sent, raw in zip(ours[0], frames[0], strict=True):
        patches, grid = server.preprocess([torch.from_numpy(sent)], *LIMITS)
        wanted, wanted_grid = server.preprocess([torch.from_numpy(raw)], *LIMITS)
        assert torch.equal(grid, wanted_grid)
        assert torch.equal(patches, wanted)


def test_a_frame_that_would_be_resized_twice_stays():
    frames = noise(32, 6400)[None, None]
    assert resize_for_model(frames, METADATA).shape == frames.shape


def test_a_frame_of_the_model_s_size_is_the_same():
    frames = noise(320, 576)[None, None]
    np.testing.assert_array_equal(resize_for_model(frames, METADATA), frames)


@pytest.mark.parametrize(
    ("frames", "metadata", "error"),
    [
        ([[b"\xff\xd8"]], METADATA, "image_frames: got list of list of bytes, wanted an array of pixels"),
        (noise(64, 64), METADATA, r"image_frames: got uint8 of shape \(3, 64, 64\), wanted uint8 RGB of shape"),
        (noise(64, 64)[None, None].astype(np.float32), METADATA, "image_frames: got float32"),
        (noise(64, 64)[None, None][:, :0], METADATA, "image_frames: got uint8 of shape"),
        (noise(64, 64)[None, None], {"server": {}}, "metadata: its images are None, .*export the repository again"),
        (noise(64, 64)[None, None], {"images": None}, "metadata: its images are None, .*export the repository again"),
        (noise(64, 64)[None, None], {"images": {"multiple_of": 32}}, "its images are {'multiple_of': 32}, wanted"),
    ],
)
def test_what_cannot_be_resized(frames, metadata, error):
    with pytest.raises(InvalidRequestError, match=error):
        resize_for_model(frames, metadata)
