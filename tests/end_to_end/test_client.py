"""The client beside `predict`: readiness, what is served, what it took, and many requests at once."""

import asyncio
import json
import socket

import numpy as np
import pytest
from alpamayo_client import AlpamayoClient, AsyncAlpamayoClient, InvalidRequestError, UnavailableError

from .golden_case import golden_case
from .wire import picture

SCENE = golden_case("no_stop_token").scene
STAGES = ["alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle"]
QUICK = {"max_generation_length": 8, "num_traj_samples": 2}


@pytest.fixture
def nobody():
    """An address where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


def test_a_ready_server_is_ready(client):
    client.wait_until_ready(10)


def test_no_server(nobody):
    with AlpamayoClient(nobody) as client:
        with pytest.raises(UnavailableError, match=nobody):
            client.wait_until_ready(0.5)
        with pytest.raises(UnavailableError, match=nobody):
            client.predict(*SCENE)
        with pytest.raises(UnavailableError, match=nobody):
            client.metadata()


def test_metadata_is_what_the_export_recorded(client, repository):
    recorded = json.loads((repository / "alpamayo.json").read_text())
    metadata = client.metadata()
    assert metadata.pop("server").keys() == {"name", "version"}
    assert metadata == recorded
    assert metadata["precision"] == "fp32"
    assert metadata["denoiser"] == "onnxruntime"
    assert metadata["limits"] == {"max_images": 16, "max_trajectories": 32, "max_generation_length": 256}
    assert len(bytes.fromhex(metadata["checkpoint"]["sha256"])) == 32


def test_stage_times_count_requests_and_seconds(client):
    before = client.stage_times()
    assert list(before) == STAGES
    for _ in range(2):
        client.predict(*SCENE, **QUICK)
    times = client.stage_times(since=before)
    assert list(times) == STAGES
    assert [time.requests for time in times.values()] == [2, 2, 2]
    assert all(time.compute_s > 0 and time.queue_s >= 0 for time in times.values())


def test_the_server_s_refusal_reaches_the_caller(client):
    frames, *history = SCENE
    with pytest.raises(InvalidRequestError, match="at most 32 trajectories"):
        client.predict(frames, *history, num_traj_samples=33)
    with pytest.raises(InvalidRequestError, match=r"encoded_frames\[0, 1\].*JPEG or PNG"):
        client.predict([[picture(frames[0, 0]), b"front.jpg"]], *history)


def test_concurrent_requests_are_answered_as_if_alone(server, client):
    """Each of its own size, so that answers given to the wrong caller would not even fit."""
    asked = [{"seed": seed, "num_traj_samples": seed, "max_generation_length": 8} for seed in range(1, 5)]

    async def all_at_once():
        async with AsyncAlpamayoClient(server.grpc) as concurrent:
            await concurrent.wait_until_ready(10)
            assert await concurrent.metadata() == client.metadata()
            return await asyncio.gather(*(concurrent.predict(*SCENE, **ask) for ask in asked))

    for ask, prediction in zip(asked, asyncio.run(all_at_once()), strict=True):
        alone = client.predict(*SCENE, **ask)
        for name in ("pred_xyz", "pred_rot", "cot", "action", "within_bounds", "reasoning_complete", "seed"):
            np.testing.assert_array_equal(getattr(prediction, name), getattr(alone, name), err_msg=name)


def test_the_answer_is_whole(client):
    prediction = client.predict(*SCENE, num_traj_samples=2, num_traj_sets=3, max_generation_length=4)
    assert prediction.pred_xyz.shape == (1, 3, 2, 64, 3)
    assert prediction.pred_rot.shape == (1, 3, 2, 64, 3, 3)
    assert prediction.action.shape == (1, 3, 2, 64, 2)
    assert prediction.cot.shape == prediction.within_bounds.shape == prediction.reasoning_complete.shape == (1, 3, 2)
    np.testing.assert_allclose(prediction.timestamps_s, np.arange(1, 65) / 10)
