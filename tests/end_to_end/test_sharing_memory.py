"""Frames that reach the server through memory of this machine: the same answers, and nothing left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from alpamayo_client import (
    AlpamayoClient,
    AsyncAlpamayoClient,
    InvalidRequestError,
    TimedOutError,
    encode_jpeg,
    resize_for_model,
)
from alpamayo_client.shared_memory import SharedFrames

from .conftest import LONG_THOUGHTS
from .golden_case import golden_case
from .live_server import live_server, until
from .wire import registered, shared

CASE = golden_case("no_stop_token")
QUICK = {"max_generation_length": 3, "inference_steps": 2, "seed": 5}
FRAMES, *HISTORY = CASE.scene
LARGER = np.tile(FRAMES[:1, :1], (1, 1, 1, 3, 3))  # of 624 x 360


@pytest.fixture(autouse=True)
def _nothing_left(triton):
    before = shared()
    yield
    assert shared() == before
    until(lambda: not registered(triton), "the server to forget all regions")


def same(prediction, wanted):
    for name in ("pred_xyz", "pred_rot", "cot", "action", "seed"):
        np.testing.assert_array_equal(getattr(prediction, name), getattr(wanted, name), err_msg=name)


def test_resized_frames_have_the_same_answer(client):
    """Raw, the server resizes them: the golden frames are enlarged, these made smaller."""
    metadata = client.metadata()
    for frames in (FRAMES, np.tile(FRAMES[:2], (1, 1, 1, 4, 4))):
        resized = resize_for_model(frames, metadata)
        assert resized.shape != frames.shape
        same(client.predict(resized, *HISTORY, **QUICK), client.predict(frames, *HISTORY, **QUICK))


def test_jpeg_is_understood(client):
    raw = client.predict(FRAMES, *HISTORY, **QUICK)
    prediction = client.predict(encode_jpeg(FRAMES, 95), *HISTORY, **QUICK)
    assert np.abs(prediction.pred_xyz - raw.pred_xyz).max() < 1.0


def test_the_same_answer_from_shared_memory(server, client, triton):
    with AlpamayoClient(server.grpc, shared_memory="system") as sharing:
        for frames in (FRAMES, FRAMES, LARGER, FRAMES[:2, ::2], FRAMES[..., ::-1]):
            same(sharing.predict(frames, *HISTORY, **QUICK), client.predict(frames, *HISTORY, **QUICK))
            assert len(shared()) == len(registered(triton)) == 1


def test_encoded_frames_need_no_shared_memory(server, client):
    files = encode_jpeg(FRAMES)
    with AlpamayoClient(server.grpc, shared_memory="system") as sharing:
        same(sharing.predict(files, *HISTORY, **QUICK), client.predict(files, *HISTORY, **QUICK))
        assert shared() == []


def test_a_larger_scene_takes_the_place_of_a_smaller_one(server, client, triton):
    with AlpamayoClient(server.grpc, shared_memory="system") as sharing:
        for frames in (FRAMES[:1, :1], LARGER):
            same(sharing.predict(frames, *HISTORY, **QUICK), client.predict(frames, *HISTORY, **QUICK))
        assert len(shared()) == len(registered(triton)) == 1


def test_concurrent_calls_have_a_region_each(server, client):
    scenes = [np.roll(FRAMES, 40 * i, axis=-1) for i in range(3)]

    async def twice():
        async with AsyncAlpamayoClient(server.grpc, shared_memory="system") as sharing:
            for _ in range(2):
                predictions = await asyncio.gather(*(sharing.predict(it, *HISTORY, **QUICK) for it in scenes))
                assert len(shared()) == 3
            return predictions

    for frames, prediction in zip(scenes, asyncio.run(twice()), strict=True):
        same(prediction, client.predict(frames, *HISTORY, **QUICK))


def test_a_call_that_is_given_up_leaves_nothing(server, triton):
    """The server still reads the region when the client closes it."""
    with AlpamayoClient(server.grpc, shared_memory="system") as sharing, pytest.raises(TimedOutError):
        sharing.predict(FRAMES, *HISTORY, **LONG_THOUGHTS, timeout_s=0.5)
    assert registered(triton) == []


def test_a_cancelled_call_leaves_nothing(server, triton):
    async def cancelled():
        async with AsyncAlpamayoClient(server.grpc, shared_memory="system") as sharing:
            call = asyncio.create_task(sharing.predict(FRAMES, *HISTORY, **LONG_THOUGHTS))
            await asyncio.to_thread(until, lambda: registered(triton), "the call to begin")
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(cancelled())
    assert registered(triton) == []


def test_a_restarted_server_is_told_again(repository, tmp_path):
    running = live_server(repository, tmp_path)
    with running as server, AlpamayoClient(server.grpc, shared_memory="system") as sharing:
        before = sharing.predict(FRAMES, *HISTORY, **QUICK)
        os.kill(tritonserver_of(server), signal.SIGKILL)
        until(lambda: server.log.read_text().count("starting tritonserver again"), "the server to be noticed as dead")
        sharing.wait_until_ready(120)
        same(sharing.predict(FRAMES, *HISTORY, **QUICK), before)
        assert len(shared()) == 1


def tritonserver_of(server):
    children = Path(f"/proc/{server.launcher}/task/{server.launcher}/children").read_text().split()
    (pid,) = (int(it) for it in children if Path(f"/proc/{it}/comm").read_text() == "tritonserver\n")
    return pid


def test_a_killed_client_leaves_nothing_in_dev_shm(server, triton):
    """What the server has mapped it keeps, until somebody says that it may go."""
    script = (
        "import os, signal, sys, numpy as np\n"
        "from alpamayo_client import AlpamayoClient\n"
        "from end_to_end.test_sharing_memory import FRAMES, HISTORY, QUICK\n"
        f"client = AlpamayoClient({server.grpc!r}, shared_memory='system')\n"
        "client.predict(FRAMES, *HISTORY, **QUICK)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], stderr=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    until(lambda: not shared(), "the resource tracker")
    (name,) = registered(triton)
    triton.unregister_system_shared_memory(name)


def test_no_room():
    """Said before anything is written: a page that is not there would kill the process."""
    frames = np.broadcast_to(np.uint8(0), (1, 1, 3, 2**20, 2**23))  # 26 TB, of one byte
    refusal = pytest.raises(InvalidRequestError, match=r"shared_memory='system': got 26388279.1 MB .*--shm-size")
    with refusal, SharedFrames("system").holding(frames):
        pass
    assert shared() == []
