"""The images of a request: every bad one is refused by the name of its input, with what came and what was wanted."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from contract import InvalidRequest
from PIL import Image
from reasoner.images import read_image


def encoded(*sizes, kind="PNG") -> np.ndarray:
    files = []
    for i, (height, width) in enumerate(sizes):
        file = io.BytesIO()
        Image.new("RGB", (width, height), (i, 0, 0)).save(file, kind)
        files.append(file.getvalue())
    array = np.empty((1, len(files)), dtype=object)
    array[0] = files
    return array


def test_images_are_camera_major(parse, good):
    images = parse().images
    assert len(images) == 4
    for i, image in enumerate(images):
        assert np.array_equal(image, good["image_frames"][i // 2, i % 2])


def test_encoded_frames_are_camera_major_and_may_differ_in_size(parse):
    files = encoded((40, 64), (64, 40), (32, 32), (50, 50)).reshape(2, 2)
    images = [read_image(image) for image in parse({"image_frames": None, "encoded_frames": files}).images]
    assert [image.shape for image in images] == [(3, 40, 64), (3, 64, 40), (3, 32, 32), (3, 50, 50)]
    assert [int(image[0, 0, 0]) for image in images] == [0, 1, 2, 3]


def test_encoded_and_raw_frames_are_the_same_request(parse, good):
    files = np.empty((2, 2), dtype=object)
    for index in np.ndindex(2, 2):
        file = io.BytesIO()
        Image.fromarray(good["image_frames"][index].transpose(1, 2, 0)).save(file, "PNG")
        files[index] = file.getvalue()
    one, other = parse().images, parse({"image_frames": None, "encoded_frames": files}).images
    assert all(np.array_equal(a, read_image(b)) for a, b in zip(one, other, strict=True))


def test_frames_may_be_a_tensor_as_cuda_shared_memory_brings_them(parse, good):
    frames = good["image_frames"]
    as_tensor = parse({"image_frames": torch.from_numpy(frames)}).images
    as_array = parse({"image_frames": frames}).images
    assert len(as_tensor) == len(as_array)
    assert all(torch.equal(read_image(a), read_image(b)) for a, b in zip(as_tensor, as_array, strict=True))
    with pytest.raises(InvalidRequest, match="image_frames must have shape"):
        parse({"image_frames": torch.from_numpy(frames)[0]})


def test_neither_images_nor_files(refusal):
    message = refusal({"image_frames": None})
    assert "exactly one of image_frames and encoded_frames" in message
    assert "neither" in message


def test_both_images_and_files(refusal):
    message = refusal({"encoded_frames": encoded((40, 40))})
    assert "exactly one of image_frames and encoded_frames" in message
    assert "both" in message


@pytest.mark.parametrize(
    "shape",
    [(4, 3, 40, 64), (1, 1, 40, 64, 3), (2, 2, 1, 40, 64), (2, 2, 4, 40, 64), (0, 2, 3, 40, 64), (2, 0, 3, 40, 64)],
)
def test_image_frames_of_a_wrong_shape(refusal, shape):
    message = refusal({"image_frames": np.zeros(shape, np.uint8)})
    assert "image_frames must have shape (n, n, 3, n, n)" in message
    assert str(shape) in message


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (32, 8193), (32, 6432)])
def test_image_frames_of_a_wrong_size(refusal, size):
    message = refusal({"image_frames": np.zeros((1, 1, 3, *size), np.uint8)})
    assert f"image_frames is {size[1]} x {size[0]} pixels" in message
    assert "32 .. 8192" in message


def test_too_many_images(refusal, parse, settings):
    frames = np.zeros((4, 4, 3, 32, 32), np.uint8)
    assert len(parse({"image_frames": frames}).images) == 16
    message = refusal({"image_frames": frames}, limits=replace(settings, max_images=15))
    assert "image_frames holds 4 cameras x 4 frames" in message
    assert "at most 15 images" in message


def test_too_many_files_are_refused_before_any_is_read(refusal):
    files = np.full((1, 17), b"no image at all", dtype=object)
    message = refusal({"image_frames": None, "encoded_frames": files})
    assert "encoded_frames holds 1 cameras x 17 frames" in message
    assert "at most 16 images" in message


@pytest.mark.parametrize("shape", [(4,), (1, 2, 2), (0, 2)])
def test_encoded_frames_of_a_wrong_shape(refusal, shape):
    message = refusal({"image_frames": None, "encoded_frames": np.full(shape, b"", dtype=object)})
    assert "encoded_frames must have shape (n, n)" in message
    assert str(shape) in message


def test_an_unreadable_file_is_named(refusal):
    files = encoded((40, 40), (40, 40), kind="JPEG")
    files[0, 1] = files[0, 1][:200]
    message = refusal({"image_frames": None, "encoded_frames": files})
    assert "encoded_frames[0, 1] must be a readable JPEG or PNG" in message
