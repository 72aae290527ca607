"""A thought given with the request equals the same thought generated: on a checkpoint that generates a known one."""

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from alpamayo_client import AlpamayoClient

from .golden_case import golden_case
from .live_server import live_server
from .speaking_checkpoint import SPEECH, speaking_repository
from .wire import ask, texts

CASE = golden_case("no_stop_token")
NOISE = np.random.default_rng(2).normal(size=(4, 64, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def speaking(repository, tmp_path_factory):
    speaking = speaking_repository(repository, CASE, tmp_path_factory.mktemp("speaking"))
    with live_server(speaking, tmp_path_factory.mktemp("speaking_server")) as server:
        yield server


@pytest.fixture(scope="module")
def speaker(speaking):
    with AlpamayoClient(speaking.grpc) as client:
        yield client


@pytest.mark.parametrize("how", [{"temperature": 0}, {"temperature": 0.6, "seed": 4}], ids=["greedy", "sampled"])
def test_generated_and_given_lead_to_the_same_trajectories(speaker, how):
    size = {"num_traj_samples": 2, "num_traj_sets": 2, "noise": NOISE}
    generated = speaker.predict(*CASE.scene, **size, **how)
    given = speaker.predict(*CASE.scene, **size, reasoning=[SPEECH] * 2)
    for prediction in (generated, given):
        assert prediction.cot.tolist() == [[[SPEECH] * 2] * 2]
        assert prediction.reasoning_complete.all()
    np.testing.assert_allclose(generated.pred_xyz, given.pred_xyz, atol=1e-3, rtol=0)
    np.testing.assert_allclose(generated.pred_rot, given.pred_rot, atol=1e-3, rtol=0)
    np.testing.assert_allclose(generated.action, given.action, atol=1e-3, rtol=0)
    unthinking = speaker.predict(*CASE.scene, **size, reasoning=[""] * 2)
    assert np.abs(unthinking.pred_xyz - given.pred_xyz).max() > 1e-2


def test_they_hand_the_same_kv_to_the_denoiser(speaking):
    with grpcclient.InferenceServerClient(speaking.grpc) as triton:
        generated = ask(triton, CASE.inputs, {"temperature": 0}, model="alpamayo_reasoner")
        given = ask(triton, CASE.inputs | {"reasoning": texts(SPEECH.encode())}, model="alpamayo_reasoner")
    for name in ("kv_owner", "action_owner", "action_position", "cot", "reasoning_complete"):
        np.testing.assert_array_equal(generated[name], given[name], err_msg=name)
    np.testing.assert_allclose(generated["kv_cache"], given["kv_cache"], atol=1e-4, rtol=0)
    assert (given["kv_owner"] == 0).sum() > 2


def test_the_stop_token_may_be_the_very_last_one(speaker, speaking):
    """There the released code has no KV for it; here the limit changes nothing."""
    with grpcclient.InferenceServerClient(speaking.grpc) as triton:
        thought = ask(triton, CASE.inputs, {"temperature": 0}, model="alpamayo_reasoner")["kv_owner"] == 0
    tokens = int(thought.sum())
    ask_for = {"temperature": 0, "noise": NOISE[:1]}
    free = speaker.predict(*CASE.scene, **ask_for)
    just = speaker.predict(*CASE.scene, **ask_for, max_generation_length=tokens)
    cut_off = speaker.predict(*CASE.scene, **ask_for, max_generation_length=tokens - 1)
    np.testing.assert_array_equal(just.pred_xyz, free.pred_xyz)
    assert just.reasoning_complete.all()
    assert cut_off.cot.tolist() == [[[SPEECH]]]
    assert not cut_off.reasoning_complete.any()
    assert np.abs(cut_off.pred_xyz - free.pred_xyz).max() > 1e-4


def test_the_repository_s_own_limits_hold(speaker):
    limits = speaker.metadata()["limits"]
    assert limits == {"max_images": 2, "max_trajectories": 6, "max_generation_length": 32}
    with pytest.raises(ValueError, match="at most 6 trajectories"):
        speaker.predict(*CASE.scene, num_traj_samples=7)
    with pytest.raises(ValueError, match="at most 32"):
        speaker.predict(*CASE.scene, max_generation_length=33)
