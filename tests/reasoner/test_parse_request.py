"""The whole request: every bad one is refused by the name of its input, with what came and what was wanted."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from contract import InvalidRequest
from PIL import Image
from reasoner.images import read_image
from reasoner.request import parse_request


@pytest.fixture(scope="module")
def good(golden_case):
    """A request's inputs: two cameras, two frames, and a real history."""
    golden = golden_case("greedy")
    return {
        "image_frames": golden["frames"][:2, :2].numpy(),
        "ego_history_xyz": golden["ego_history_xyz"][0, 0].numpy(),
        "ego_history_rot": golden["ego_history_rot"][0, 0].numpy(),
    }


@pytest.fixture(scope="module")
def parse(good, settings):
    """Parses the good request with some inputs changed, and these parameters."""

    def parse(inputs=None, limits=settings, **parameters):
        return parse_request({**good, **(inputs or {})}, json.dumps(parameters), limits)

    return parse


@pytest.fixture(scope="module")
def refusal(parse):
    def refusal(inputs=None, **rest) -> str:
        with pytest.raises(InvalidRequest) as refused:
            parse(inputs, **rest)
        return str(refused.value)

    return refusal


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def rotation(degrees: float, axis: str = "z") -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array({"z": [[c, -s, 0], [s, c, 0], [0, 0, 1]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}[axis])


def encoded(*sizes, kind="PNG") -> np.ndarray:
    files = []
    for i, (height, width) in enumerate(sizes):
        file = io.BytesIO()
        Image.new("RGB", (width, height), (i, 0, 0)).save(file, kind)
        files.append(file.getvalue())
    array = np.empty((1, len(files)), dtype=object)
    array[0] = files
    return array


# What a good request becomes


def test_a_good_request(parse, good):
    request = parse()
    assert request.num_traj_samples == 1
    assert request.max_generation_length == 256
    assert request.noise is None
    assert request.reasoning is None
    assert np.array_equal(request.ego_history_xyz, good["ego_history_xyz"])


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


def test_given_thoughts_count_themselves(parse):
    texts = np.array([b"Slow down.", b"", "Fußgänger".encode()], dtype=object)
    request = parse({"reasoning": texts})
    assert request.num_traj_samples == 3
    assert request.reasoning == ["Slow down.", "", "Fußgänger"]
    assert parse({"reasoning": texts}, num_traj_samples=3).num_traj_samples == 3


def test_the_generation_length_is_at_most_the_repository_s(parse, settings):
    short = replace(settings, max_generation_length=40)
    long = replace(settings, max_generation_length=1000)
    assert parse(limits=short).max_generation_length == 40
    assert parse(limits=long).max_generation_length == 256
    assert parse(limits=long, max_generation_length=1000).max_generation_length == 1000


def test_standing_still_is_a_history_like_any_other(parse):
    still = {
        "ego_history_xyz": np.zeros((16, 3), np.float32),
        "ego_history_rot": np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)),
    }
    assert np.array_equal(parse(still).ego_history_xyz, still["ego_history_xyz"])


# Images


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


# History


@pytest.mark.parametrize("name", ["ego_history_xyz", "ego_history_rot"])
def test_a_missing_history(refusal, name):
    assert f"input {name} is missing" in refusal({name: None})


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ego_history_xyz", (15, 3)),
        ("ego_history_xyz", (16, 2)),
        ("ego_history_xyz", (1, 16, 3)),
        ("ego_history_rot", (16, 3)),
        ("ego_history_rot", (16, 4, 4)),
        ("ego_history_rot", (17, 3, 3)),
    ],
)
def test_a_history_of_a_wrong_shape(refusal, name, shape):
    message = refusal({name: np.zeros(shape, np.float32)})
    assert f"{name} must have shape (16, 3" in message
    assert str(shape) in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "index"), [("ego_history_xyz", (3, 1)), ("ego_history_rot", (4, 2, 0))])
def test_a_history_that_is_not_finite(refusal, good, name, index, bad):
    message = refusal({name: changed(good[name], index, bad)})
    assert f"{name} must be finite" in message
    assert f"got {bad} at {list(index)}" in message


def test_a_history_in_world_coordinates(refusal, good):
    message = refusal({"ego_history_xyz": good["ego_history_xyz"] + np.float32([350_000.0, 5_600_000.0, 40.0])})
    assert "ego_history_xyz[-1] must be the origin within 0.001 m" in message
    assert "ego frame at t0" in message


def test_a_history_a_little_off_the_origin(refusal, parse, good):
    parse({"ego_history_xyz": good["ego_history_xyz"] + np.float32(0.0009 / 3**0.5)})
    for axis in range(3):
        moved = changed(good["ego_history_xyz"], (-1, axis), -0.0011)
        assert "ego_history_xyz[-1] must be the origin" in refusal({"ego_history_xyz": moved})


def test_a_history_with_headings_of_the_world(refusal, good):
    turned = (rotation(30) @ good["ego_history_rot"]).astype(np.float32)
    message = refusal({"ego_history_rot": turned})
    assert "ego_history_rot[-1] must be the identity within 0.001" in message
    assert "ego frame at t0" in message


def test_a_history_in_millimetres(refusal, good):
    message = refusal({"ego_history_xyz": good["ego_history_xyz"] * 1000})
    assert "within 1000 m" in message
    assert "metres" in message


@pytest.mark.parametrize(
    ("what", "matrix"),
    [
        ("mirrored", np.diag([1, -1, 1])),
        ("scaled", 1.01 * np.eye(3)),
        ("sheared", np.array([[1, 0.01, 0], [0, 1, 0], [0, 0, 1]])),
        ("zero", np.zeros((3, 3))),
        ("all mirrored", -np.eye(3)),
    ],
)
def test_matrices_that_are_no_rotations(refusal, good, what, matrix):
    message = refusal({"ego_history_rot": changed(good["ego_history_rot"], 7, matrix)})
    assert "ego_history_rot must hold rotations" in message
    assert "at [7]" in message
    assert f"determinant is {np.linalg.det(matrix):.3g}" in message


def curve(speed=8.0, curvature=0.05):
    """A steady left turn that ends at the origin, heading along x."""
    t = np.arange(-15, 1) * 0.1
    yaw = curvature * speed * t
    xyz = np.stack([np.sin(yaw), 1 - np.cos(yaw), 0 * yaw], axis=-1) / curvature
    return xyz.astype(np.float32), np.stack([rotation(np.degrees(a)) for a in yaw]).astype(np.float32)


def test_transposed_rotations(refusal, parse):
    xyz, rot = curve()
    parse({"ego_history_xyz": xyz, "ego_history_rot": rot})
    message = refusal({"ego_history_xyz": xyz, "ego_history_rot": rot.transpose(0, 2, 1)})
    assert "ego_history_rot looks transposed" in message
    assert "must map vectors of the ego frame at t to the ego frame at t0" in message


def test_driving_backwards_is_not_transposed(parse):
    xyz, rot = curve(speed=-3.0)
    assert parse({"ego_history_xyz": xyz, "ego_history_rot": rot}).num_traj_samples == 1


# Noise, thoughts, limits


@pytest.mark.parametrize("shape", [(5, 64, 2), (6, 63, 2), (6, 64, 3), (6, 128), (1, 6, 64, 2)])
def test_noise_of_a_wrong_shape(refusal, parse, shape):
    parse({"noise": np.zeros((6, 64, 2), np.float32)}, num_traj_samples=3, num_traj_sets=2)
    message = refusal({"noise": np.zeros(shape, np.float32)}, num_traj_samples=3, num_traj_sets=2)
    assert "noise must have shape (6, 64, 2)" in message
    assert str(shape) in message


def test_noise_counts_given_thoughts(parse, refusal):
    texts = np.array([b"a", b"b"], dtype=object)
    parse({"reasoning": texts, "noise": np.zeros((4, 64, 2), np.float32)}, num_traj_sets=2)
    message = refusal({"reasoning": texts, "noise": np.zeros((2, 64, 2), np.float32)}, num_traj_sets=2)
    assert "noise must have shape (4, 64, 2)" in message


def test_noise_that_is_not_finite(refusal):
    noise = changed(np.zeros((1, 64, 2), np.float32), (0, 5, 1), np.inf)
    assert "noise must be finite; got inf at [0, 5, 1]" in refusal({"noise": noise})


def test_more_thoughts_than_samples(refusal):
    message = refusal({"reasoning": np.array([b"a", b"b"], dtype=object)}, num_traj_samples=1)
    assert "reasoning holds 2 thoughts" in message
    assert "num_traj_samples is 1" in message


@pytest.mark.parametrize("shape", [(0,), (1, 2)])
def test_thoughts_of_a_wrong_shape(refusal, shape):
    message = refusal({"reasoning": np.full(shape, b"a", dtype=object)})
    assert "reasoning must have shape (n,)" in message
    assert str(shape) in message


def test_a_thought_that_is_no_utf_8(refusal):
    message = refusal({"reasoning": np.array([b"fine", b"\xff\xfe"], dtype=object)})
    assert "reasoning[1] must be UTF-8" in message


@pytest.mark.parametrize(("sets", "samples"), [(1, 33), (33, 1), (4, 9), (1, 10**9), (10**9, 10**9)])
def test_too_many_trajectories(refusal, parse, sets, samples):
    assert parse(num_traj_sets=4, num_traj_samples=8).num_traj_samples == 8
    message = refusal(num_traj_sets=sets, num_traj_samples=samples)
    assert f"num_traj_sets x num_traj_samples is {sets} x {samples}" in message
    assert "at most 32 trajectories" in message


def test_too_many_given_thoughts(refusal):
    message = refusal({"reasoning": np.full((17,), b"a", dtype=object)}, num_traj_sets=2)
    assert "is 2 x 17" in message


def test_too_long_a_generation(refusal):
    message = refusal(max_generation_length=257)
    assert "max_generation_length is 257" in message
    assert "at most 256" in message


def test_bad_parameters_are_refused_here_too(refusal):
    assert "unknown request parameter 'num_samples'" in refusal(num_samples=3)
    assert "temperature must be a number" in refusal(temperature="hot")


def test_frames_may_be_a_tensor_as_cuda_shared_memory_brings_them(parse, good):
    frames = good["image_frames"]
    as_tensor = parse({"image_frames": torch.from_numpy(frames)}).images
    as_array = parse({"image_frames": frames}).images
    assert len(as_tensor) == len(as_array)
    assert all(torch.equal(read_image(a), read_image(b)) for a, b in zip(as_tensor, as_array, strict=True))
    with pytest.raises(InvalidRequest, match="image_frames must have shape"):
        parse({"image_frames": torch.from_numpy(frames)[0]})
