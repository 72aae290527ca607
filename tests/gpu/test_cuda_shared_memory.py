"""Frames that a real server reads where they lie on the GPU: the same answers, and nothing left behind."""

import asyncio

import numpy as np
import pytest
import torch
from alpamayo_client import AlpamayoClient, AsyncAlpamayoClient
from end_to_end.golden_case import golden_case
from end_to_end.live_server import live_server
from tritonclient.grpc import InferenceServerClient

CASE = golden_case("no_stop_token")
QUICK = {"max_generation_length": 3, "inference_steps": 2, "seed": 5}
FRAMES, *HISTORY = CASE.scene


@pytest.fixture(scope="module", autouse=True)
def _extra():
    pytest.importorskip(
        "tritonclient.utils.cuda_shared_memory",
        reason="shared_memory='cuda' needs its extra: pip install './client[cuda]'",
        exc_type=(ImportError, RuntimeError),
    )


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    with live_server(exported("fp32", "auto"), tmp_path_factory.mktemp("cuda")) as running:
        yield running


@pytest.fixture(scope="module")
def wanted(server):
    """Of the frames as they are, and of their mirror image, through gRPC."""
    with AlpamayoClient(server.grpc) as client:
        return [client.predict(frames, *HISTORY, **QUICK).pred_xyz for frames in (FRAMES, FRAMES[..., ::-1])]


@pytest.fixture
def registered(server):
    """How many regions the server knows; none in the end."""
    with InferenceServerClient(server.grpc) as triton:

        def count():
            return len(triton.get_cuda_shared_memory_status(as_json=True).get("regions", {}))

        assert count() == 0
        yield count
        assert count() == 0


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_the_same_answer_from_the_gpu_s_memory(server, wanted, registered, where):
    frames = torch.from_numpy(np.array(FRAMES)).to(where)
    with AlpamayoClient(server.grpc, shared_memory="cuda") as client:
        for them, xyz in zip((frames, frames.flip(-1)), wanted, strict=True):
            given = them if where == "cuda" else them.numpy()
            np.testing.assert_array_equal(client.predict(given, *HISTORY, **QUICK).pred_xyz, xyz)
            assert registered() == 1


def test_calls_at_once_have_a_region_each(server, wanted, registered):
    async def ask():
        frames = torch.from_numpy(np.array(FRAMES)).cuda()
        async with AsyncAlpamayoClient(server.grpc, shared_memory="cuda") as client:
            asked = (client.predict(them, *HISTORY, **QUICK) for them in (frames, frames.flip(-1)))
            answers = await asyncio.gather(*asked)
            assert registered() == 2
            return answers

    for answer, xyz in zip(asyncio.run(ask()), wanted, strict=True):
        np.testing.assert_array_equal(answer.pred_xyz, xyz)


def test_a_larger_scene_takes_the_place_of_a_smaller_one(server, wanted, registered):
    with AlpamayoClient(server.grpc, shared_memory="cuda") as client:
        client.predict(FRAMES[:1, :1], *HISTORY, **QUICK)
        np.testing.assert_array_equal(client.predict(FRAMES, *HISTORY, **QUICK).pred_xyz, wanted[0])
        assert registered() == 1
