import dataclasses

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError, Scene, ServerError
from alpamayo_client.prediction import parse_response
from little_triton import answer, response_message
from tritonclient.grpc import InferResult


def parse(scene=None, **changes):
    return parse_response(InferResult(response_message(answer(**changes))), scene)


def test_a_response_keeps_the_contracts_shapes():
    prediction = parse(sets=2, samples=3, seed=2**53 - 1)
    assert prediction.pred_xyz.shape == (1, 2, 3, 64, 3)
    assert prediction.pred_rot.shape == (1, 2, 3, 64, 3, 3)
    assert prediction.action.shape == (1, 2, 3, 64, 2)
    assert prediction.cot.tolist() == [[["Thought 0.", "Thought 1.", "Thought 2."]] * 2]
    assert prediction.within_bounds.dtype == prediction.reasoning_complete.dtype == bool
    assert prediction.seed == 2**53 - 1
    assert type(prediction.seed) is int
    np.testing.assert_array_equal(prediction.pred_xyz[0, :, :, 0, 1], [[0, 1, 2], [3, 4, 5]])


def test_predictions_are_frozen_and_their_arrays_belong_to_the_caller():
    prediction = parse()
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.seed = 1
    prediction.pred_xyz[0] = 1.0


def test_text_that_is_not_utf8_is_still_an_answer():
    assert (
        parse(cot=np.array([[[b"caf\xc3\xa9 \xff"]]], dtype=np.object_)).cot[0, 0, 0]
        == "café \N{REPLACEMENT CHARACTER}"
    )


def test_timestamps():
    timestamps_s = parse().timestamps_s
    assert timestamps_s.shape == (64,)
    assert (timestamps_s[0], timestamps_s[2], timestamps_s[-1]) == (0.1, 0.3, 6.4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pred_rot": None}, r"lacks \['pred_rot'\]"),
        ({"cot": np.array([b"a"], dtype=np.object_)}, r"answer's cot has shape \(1,\), wanted \(1, 1, 1\)"),
        (
            {"pred_xyz": np.zeros((1, 1, 1, 12, 3), np.float32)},
            r"answer's pred_xyz has shape .*, wanted \(1, 1, 1, 64, 3\)",
        ),
    ],
)
def test_answers_of_another_server(changes, message):
    with pytest.raises(ServerError, match=message):
        parse(**changes)


def test_to_world_turns_and_moves():
    prediction = parse(samples=2)
    ego_to_world = [
        [0, -1, 0, 500_000.25],
        [1, 0, 0, 4_000_000.5],
        [0, 0, 1, 30],
        [0, 0, 0, 1],
    ]  # 90 degrees to the left
    xyz, rot = prediction.to_world(ego_to_world)
    assert xyz.dtype == rot.dtype == np.float64
    # Ten waypoints on, the car is 9 m forward, and sample 1 is one metre to the left: -1 in x of the world.
    np.testing.assert_allclose(xyz[0, 0, 1, 9], [500_000.25 - 1, 4_000_000.5 + 9, 30], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(rot[0, 0, 1, 9], [[0, -1, 0], [1, 0, 0], [0, 0, 1]])


def test_to_world_turns_rotations_from_the_left():
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)  # about z
    prediction = parse(pred_rot=np.broadcast_to(quarter, (1, 1, 1, 64, 3, 3)).copy())
    roll = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # a quarter about x
    _, rot = prediction.to_world(roll)
    np.testing.assert_array_equal(rot[0, 0, 0, 0], [[0, -1, 0], [0, 0, -1], [1, 0, 0]])


def test_a_prediction_of_a_scene_knows_its_time_and_world(frames, history, tmp_path):
    pose = [[0, -1, 0, 500_000.25], [1, 0, 0, 4_000_000.5], [0, 0, 1, 30], [0, 0, 0, 1]]
    prediction = parse(Scene(frames, *history, t0_us=1_700_000_000_000_001, ego_to_world=pose))
    assert prediction.timestamps_us.dtype == np.int64
    assert prediction.timestamps_us[[0, -1]].tolist() == [1_700_000_000_100_001, 1_700_000_006_400_001]
    xyz, rot = prediction.to_world()
    np.testing.assert_allclose(xyz[0, 0, 0, 9], [500_000.25, 4_000_000.5 + 9, 30], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(rot[0, 0, 0, 9], np.array(pose)[:3, :3])
    np.testing.assert_array_equal(prediction.to_world(np.eye(4))[0], prediction.pred_xyz)  # the caller's goes first
    prediction.save(tmp_path / "prediction.npz")
    with np.load(tmp_path / "prediction.npz", allow_pickle=False) as saved:
        assert saved["t0_us"] == 1_700_000_000_000_001
        np.testing.assert_array_equal(saved["ego_to_world"], pose)


def test_a_prediction_of_a_scene_that_knows_neither(frames, history):
    for prediction in (parse(), parse(Scene(frames, *history))):
        with pytest.raises(InvalidRequestError, match="timestamps_us: this prediction's scene had no t0_us"):
            _ = prediction.timestamps_us
        with pytest.raises(InvalidRequestError, match=r"ego_to_world: this prediction's scene had none, .*\(4, 4\)"):
            prediction.to_world()


@pytest.mark.parametrize(
    "transform",
    [
        np.eye(3),
        np.full((4, 4), np.nan),
        np.diag([2.0, 2.0, 2.0, 1.0]),
        np.diag([1.0, 1.0, -1.0, 1.0]),  # a mirror
        np.array([[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]]).T,
    ],
)
def test_to_world_refuses_what_is_not_rigid(transform):
    with pytest.raises(InvalidRequestError, match="ego_to_world: got"):
        parse().to_world(transform)


def test_a_saved_prediction_needs_no_pickle(tmp_path):
    prediction = parse(samples=2)
    prediction.save(tmp_path / "prediction.npz")
    with np.load(tmp_path / "prediction.npz", allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["pred_xyz"], prediction.pred_xyz)
        assert saved["cot"].tolist() == prediction.cot.tolist()
        assert saved["seed"] == prediction.seed
        assert saved["denoiser_runner"] == prediction.denoiser_runner == "torch 2, cpu"
        assert saved["timestamps_s"].shape == (64,)
        assert all(saved[name].dtype != np.object_ for name in saved.files)
