import math

import numpy as np
import pytest
from alpamayo_client import InvalidRequestError
from alpamayo_client.request import build_request, infer_inputs


def test_raw_frames_and_history_become_the_contracts_inputs(frames, history):
    request = build_request(frames, *history, {})
    assert list(request.inputs) == ["image_frames", "ego_history_xyz", "ego_history_rot"]
    np.testing.assert_array_equal(request.inputs["image_frames"], frames)
    assert request.inputs["ego_history_xyz"].dtype == request.inputs["ego_history_rot"].dtype == np.float32
    np.testing.assert_allclose(request.inputs["ego_history_xyz"], history[0], rtol=1e-6)
    assert request.parameters == {}
    assert request.timeout_s is None


def test_encoded_frames_have_an_input_of_their_own(encoded, history):
    request = build_request(encoded, *history, {})
    assert "image_frames" not in request.inputs
    assert request.inputs["encoded_frames"].shape == (2, 3)
    assert request.inputs["encoded_frames"].tolist() == encoded


def test_the_references_batch_axes_are_dropped(frames, history):
    xyz, rot = history
    request = build_request(frames, xyz[None, None], rot[None, None], {})
    assert request.inputs["ego_history_xyz"].shape == (16, 3)
    assert request.inputs["ego_history_rot"].shape == (16, 3, 3)


def test_only_given_parameters_are_sent_and_in_their_own_type(frames, history):
    given = {"num_traj_samples": np.int64(6), "temperature": 0, "top_p": np.float32(0.5), "seed": None}
    parameters = build_request(frames, *history, given).parameters
    assert parameters == {"num_traj_samples": 6, "temperature": 0.0, "top_p": 0.5}
    assert [type(value) for value in parameters.values()] == [int, float, float]


def test_a_timeout_becomes_a_deadline_of_at_least_as_long(frames, history):
    request = build_request(frames, *history, {}, timeout_s=1.2345)
    assert request.timeout_s == 1.2345
    assert request.parameters == {"deadline_ms": 1235}


def test_a_priority_is_one_of_three(frames, history):
    assert build_request(frames, *history, {}).priority == 0  # the server's default
    assert build_request(frames, *history, {}, priority=3).priority == 3
    for wrong in (0, 4, 1.0, True):
        with pytest.raises(InvalidRequestError, match="priority: got"):
            build_request(frames, *history, {}, priority=wrong)


def test_given_thoughts_are_utf8_and_need_no_count(frames, history):
    request = build_request(frames, *history, {}, reasoning=["Weiche aus, Tür auf.", ""])
    assert request.inputs["reasoning"].tolist() == ["Weiche aus, Tür auf.".encode(), b""]
    assert request.parameters == {}


def test_noise_is_for_every_sample_of_every_set(frames, history):
    noise = np.random.default_rng(0).normal(size=(6, 64, 2))
    request = build_request(frames, *history, {"num_traj_sets": 2}, noise=noise, reasoning=["a", "b", "c"])
    np.testing.assert_array_equal(request.inputs["noise"], noise.astype(np.float32))


def test_tensors_go_out_in_tritons_types_and_row_major(frames, encoded, history):
    swapped = np.asfortranarray(frames)
    sent = {tensor.name(): tensor for tensor in infer_inputs(build_request(swapped, *history, {}, reasoning=["a"]))}
    assert {name: tensor.datatype() for name, tensor in sent.items()} == {
        "image_frames": "UINT8",
        "ego_history_xyz": "FP32",
        "ego_history_rot": "FP32",
        "reasoning": "BYTES",
    }
    assert sent["image_frames"].shape() == [2, 3, 3, 32, 48]
    assert sent["image_frames"]._get_content() == frames.tobytes()
    encoded_input = infer_inputs(build_request(encoded, *history, {}))[0]
    assert (encoded_input.name(), encoded_input.datatype(), encoded_input.shape()) == (
        "encoded_frames",
        "BYTES",
        [2, 3],
    )


def test_more_than_a_message_can_hold_is_refused_before_it_is_copied(history):
    large = np.broadcast_to(np.uint8(0), (4, 4, 3, 6000, 8000))
    with pytest.raises(InvalidRequestError, match=r"request is 2\.15 GiB, wanted less than the 2 GiB"):
        build_request(large, *history, {})


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("num_traj_samples", 2.0, r"num_traj_samples: got 2\.0, wanted an integer"),
        ("num_traj_samples", True, "num_traj_samples: got True, wanted an integer"),
        ("seed", 2**63, "seed: got 9223372036854775808, wanted an integer of 64 bits"),
        ("temperature", "hot", "temperature: got 'hot', wanted a number"),
    ],
)
def test_parameters_of_the_wrong_type(frames, history, parameter, value, message):
    with pytest.raises(InvalidRequestError, match=message):
        build_request(frames, *history, {parameter: value})


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan, math.inf, "1"])
def test_timeouts_that_are_none(frames, history, seconds):
    with pytest.raises(InvalidRequestError, match=r"timeout_s: got .*, wanted"):
        build_request(frames, *history, {}, timeout_s=seconds)
