"""AlpaSim's driver in front of a real server; the simulator itself is not here."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import entry_points
from types import SimpleNamespace

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError, TimedOutError, UnavailableError, alpasim

from .alpasim_inputs import (
    DriveCommand,
    ModelConfig,
    OlderPredictionInput,
    PredictionInput,
    camera_images,
    pose_history,
)
from .golden_case import golden_case

CAMERAS = [  # of AlpaSim's own configuration for Alpamayo, in the order of the model's indices
    "camera_cross_left_120fov",
    "camera_front_wide_120fov",
    "camera_cross_right_120fov",
    "camera_front_tele_30fov",
]
SEED = 123


@pytest.fixture(scope="module")
def scene():
    frames, xyz, rot = golden_case("greedy").scene
    return frames, xyz[0, 0].astype(np.float64), rot[0, 0].astype(np.float64)


@pytest.fixture(scope="module")
def asked(scene) -> PredictionInput:
    frames, xyz, rot = scene
    images = camera_images(frames, CAMERAS)
    return PredictionInput(images, DriveCommand.STRAIGHT, 8.0, 0.0, pose_history(xyz, rot), SEED, None, None)


@pytest.fixture(scope="module")
def expected(client, scene):
    return client.predict(*scene, seed=SEED)


def make(server, samples=1, context_length=None, output_frequency_hz=10, cameras=CAMERAS, **config):
    """As AlpaSim's driver does it: the class by its entry point, and the arguments in this order."""
    (found,) = entry_points(group="alpasim.models", name="alpamayo_server")
    model_cfg = ModelConfig(server.grpc, num_trajectory_samples=samples, **config)
    return found.load().from_config(model_cfg, "cuda", cameras, context_length, output_frequency_hz)


def test_what_the_driver_asks_of_a_model(server):
    model = make(server)
    assert (model.camera_ids, model.num_cameras, model.context_length, model.output_frequency_hz) == (CAMERAS, 4, 4, 10)
    assert model.MIN_FRAME_HW is None


def test_the_same_trajectory_and_thought_as_the_client_s(server, asked, expected):
    got = make(server).predict(asked)
    np.testing.assert_allclose(got.selected_positions, expected.pred_xyz[0, 0, 0], atol=1e-3)
    np.testing.assert_allclose(got.selected_rotations, expected.pred_rot[0, 0, 0], atol=1e-4)
    assert got.candidate_positions.shape == (1, 64, 3)
    assert got.reasoning_text == expected.cot[0, 0, 0]
    assert got.selected_plan is got.model_t0_us is got.pose_local_to_rig_t0 is got.waypoint_timestamps_us is None


def test_what_older_drivers_read(server, asked, expected):
    got = make(server).predict(asked)
    np.testing.assert_allclose(got.trajectory_xy, expected.pred_xyz[0, 0, 0, :, :2], atol=1e-3)
    rot = expected.pred_rot[0, 0, 0]
    np.testing.assert_allclose(got.headings, np.arctan2(rot[:, 1, 0], rot[:, 0, 0]), atol=1e-4)
    assert got.debug_metadata is None


def test_older_inputs_have_no_seed(server, asked):
    older = OlderPredictionInput(asked.camera_images, asked.command, 8.0, 0.0, asked.ego_pose_history)
    first, second = make(server).predict_batch([older, older])
    assert (first.trajectory_xy != second.trajectory_xy).any()


def test_cameras_go_to_the_model_in_its_order(server, asked, expected):
    images = dict(reversed(asked.camera_images.items()))
    got = make(server, cameras=CAMERAS[::-1]).predict(replace(asked, camera_images=images))
    np.testing.assert_allclose(got.selected_positions, expected.pred_xyz[0, 0, 0], atol=1e-3)


def test_a_batch_is_answered_in_its_order_each_with_its_seed(server, asked):
    seeds = [SEED, 7, 2**53 + SEED, SEED]  # a seed beyond the server's range is some other one below
    batch = make(server).predict_batch([replace(asked, inference_seed=seed) for seed in seeds])
    same = [[np.array_equal(a.trajectory_xy, b.trajectory_xy) for b in batch] for a in batch]
    folded = [seed % 2**53 for seed in seeds]
    assert same == [[a == b for b in folded] for a in folded]


def test_a_batch_is_asked_a_few_at_a_time(server, asked, monkeypatch):
    at_once, most = 0, 0
    predict = alpasim.AsyncAlpamayoClient.predict

    async def counted(*arguments, **more):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await predict(*arguments, **more)
        finally:
            at_once -= 1

    monkeypatch.setattr(alpasim.AsyncAlpamayoClient, "predict", counted)
    assert len(make(server).predict_batch([asked] * 5)) == 5
    assert most == alpasim.ASKED_AT_ONCE > 1


@pytest.mark.parametrize("frequency_hz", [4, 10, 25])
def test_waypoints_at_another_rate(server, asked, expected, frequency_hz):
    got = make(server, output_frequency_hz=frequency_hz).predict(asked)
    times_s = np.arange(1, len(got.trajectory_xy) + 1) / frequency_hz
    assert 6.4 - 1 / frequency_hz < times_s[-1] <= 6.4
    known = np.isclose(times_s * 10, np.round(times_s * 10))
    steps = np.round(times_s[known] * 10).astype(int) - 1
    np.testing.assert_allclose(got.selected_positions[known], expected.pred_xyz[0, 0, 0, steps], atol=1e-3)
    np.testing.assert_allclose(got.selected_rotations[known], expected.pred_rot[0, 0, 0, steps], atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(got.selected_rotations), 1)


def test_several_samples_are_all_candidates(server, asked, client, scene):
    got = make(server, samples=3, trajectory_selection=SimpleNamespace(strategy="ALWAYS_FIRST")).predict(asked)
    three = client.predict(*scene, seed=SEED, num_traj_samples=3)
    np.testing.assert_allclose(got.candidate_positions, three.pred_xyz[0, 0], atol=1e-3)
    assert got.candidate_rotations.shape == (3, 64, 3, 3)
    assert (got.selected_index, got.reasoning_text) == (0, three.cot[0, 0, 0])


def without_tele(asked):
    images = {name: frames for name, frames in asked.camera_images.items() if "tele" not in name}
    return replace(asked, camera_images=images)


def with_three_frames(asked):
    return replace(asked, camera_images=asked.camera_images | {CAMERAS[0]: asked.camera_images[CAMERAS[0]][1:]})


def with_a_smaller_image(asked):
    images = [frame._replace(image=frame.image[:-2]) for frame in asked.camera_images[CAMERAS[0]]]
    return replace(asked, camera_images=asked.camera_images | {CAMERAS[0]: images})


def with_images_elsewhere(asked):
    class OnAGpu:
        def __array__(self, *_, **__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    images = [frame._replace(image=OnAGpu()) for frame in asked.camera_images[CAMERAS[0]]]
    return replace(asked, camera_images=asked.camera_images | {CAMERAS[0]: images})


def with_moved_frames(asked, camera, moved_us):
    images = [
        frame._replace(timestamp_us=frame.timestamp_us + move)
        for frame, move in zip(asked.camera_images[camera], moved_us, strict=True)
    ]
    return replace(asked, camera_images=asked.camera_images | {camera: images})


def with_frames_at_2_hz(asked):
    return with_moved_frames(asked, CAMERAS[0], [-1_200_000, -800_000, -400_000, 0])


def with_a_camera_that_stopped(asked):
    return with_moved_frames(asked, CAMERAS[1], [-5_000_000] * 4)


def with_the_newest_first(asked):
    return replace(asked, camera_images={name: it[::-1] for name, it in asked.camera_images.items()})


def with_few_poses(asked):
    return replace(asked, ego_pose_history=asked.ego_pose_history[3:])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_tele, "camera_images: got frames of .*'camera_cross_right_120fov': 4}, wanted 4 of each"),
        (with_three_frames, "'camera_cross_left_120fov': 3, .*wanted 4 of each"),
        (with_a_smaller_image, "camera_images: got images of .*wanted all of one size"),
        (with_images_elsewhere, "can't convert cuda:0.*: set image_decode_device: cpu"),
        (with_frames_at_2_hz, f"{CAMERAS[0]}: got frames at -1500, -1000, -500, 0 ms .*wanted -300, -200, -100, 0 ms"),
        (with_a_camera_that_stopped, f"{CAMERAS[1]}: got frames at -5300, .*wanted -300, .*subsample_factor"),
        (with_the_newest_first, f"{CAMERAS[0]}: got frames at 0, -100, -200, -300 ms"),
        (with_few_poses, r"ego_pose_history: .*from t0-1200\.0 to t0\+0\.0 ms, wanted t0-1500"),
    ],
)
def test_inputs_that_lack_something_are_refused(server, asked, spoil, words):
    with pytest.raises(InvalidRequestError, match=words):
        make(server).predict_batch([asked, spoil(asked)])


def test_a_driver_that_knows_an_error_for_refusals_gets_that(server, asked, monkeypatch):
    class ModelInputValidationError(ValueError):
        """As in AlpaSim's newer versions."""

    driver = SimpleNamespace(ModelInputValidationError=ModelInputValidationError)
    monkeypatch.setitem(sys.modules, "alpasim_driver.models.base", driver)
    with pytest.raises(ModelInputValidationError, match=r"ego_pose_history: .*wanted t0-1500"):
        make(server).predict(with_few_poses(asked))
    with pytest.raises(ModelInputValidationError, match="num_traj_samples"):
        make(server, samples=1000).predict(asked)
    monkeypatch.setitem(sys.modules, "alpasim_driver.models.base", SimpleNamespace())  # as in older ones
    with pytest.raises(InvalidRequestError):
        make(server).predict(with_few_poses(asked))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cameras": []}, r"use_cameras: got \[\], wanted some of camera_cross_left_120fov"),
        ({"cameras": ["camera_roof"]}, r"use_cameras: got \['camera_roof'\]"),
        ({"output_frequency_hz": 0}, "output_frequency_hz: got 0"),
        ({"samples": 0}, "num_trajectory_samples: got 0, wanted 1 or more"),
        ({"trajectory_selection": SimpleNamespace(strategy="CLOSEST_3D")}, "got CLOSEST_3D, wanted ALWAYS_FIRST"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(server, wrong, words):
    with pytest.raises(InvalidRequestError, match=words):
        make(server, **wrong)


def test_it_waits_for_the_server_and_then_says_that_there_is_none(monkeypatch):
    monkeypatch.setattr(alpasim, "START_S", 0.3)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 is not ready after 0\.3 s"):
        make(SimpleNamespace(grpc="127.0.0.1:1"))


def test_a_batch_of_which_one_fails_is_given_up(server, asked, monkeypatch, caplog):
    """The others are cancelled at the server, and none is left to complain later."""
    cancelled = 0
    predict = alpasim.AsyncAlpamayoClient.predict

    async def counted(*arguments, seed, **more):
        nonlocal cancelled
        if seed == 1:
            raise TimedOutError("this one takes too long")
        try:
            return await predict(*arguments, seed=seed, **more, temperature=100, top_p=1.0)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    monkeypatch.setattr(alpasim.AsyncAlpamayoClient, "predict", counted)
    with pytest.raises(TimedOutError):
        make(server, samples=32).predict_batch([replace(asked, inference_seed=seed) for seed in (2, 3, 1)])
    assert cancelled == 2
    assert "never retrieved" not in caplog.text


def test_a_refusal_of_the_server_s_reaches_the_driver(server, asked):
    with pytest.raises(InvalidRequestError, match="num_traj_samples"):
        make(server, samples=1000).predict(asked)


def test_it_needs_nothing_of_alpasim_nor_torch():
    code = "import sys, alpamayo_client.alpasim; print([m for m in sys.modules if m.startswith(('alpasim', 'torch'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
