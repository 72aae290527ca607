"""What happens on a real socket: nobody there, nobody answering, errors, readiness."""

import asyncio
import contextlib
import socket
import threading

import grpc
import numpy as np
import pytest
from alpamayo_client import (
    AlpamayoClient,
    AsyncAlpamayoClient,
    InvalidRequestError,
    Scene,
    ServerError,
    StageTime,
    TimedOutError,
    UnavailableError,
)
from little_triton import STAGES, answer, response_message


@pytest.fixture
def closed_url():
    """A port that is ours, and on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def silent_url():
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


class Blocking:
    """The asynchronous client, called like the other one."""

    def __init__(self, url):
        self._url = url

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            async with AsyncAlpamayoClient(self._url) as client:
                return await getattr(client, name)(*args, **kwargs)

        return lambda *args, **kwargs: asyncio.run(call(*args, **kwargs))


@pytest.fixture(params=[AlpamayoClient, AsyncAlpamayoClient])
def connect(request):
    """A client of an url, either kind."""
    with contextlib.ExitStack() as stack:

        def connected(url):
            return stack.enter_context(AlpamayoClient(url)) if request.param is AlpamayoClient else Blocking(url)

        yield connected


def test_an_answer_comes_back(connect, triton, frames, history):
    triton.outputs = answer(sets=2, samples=3, seed=11)
    prediction = connect(triton.url).predict(
        frames, *history, num_traj_samples=3, num_traj_sets=2, temperature=0.5, seed=11, timeout_s=30, priority=1
    )
    assert prediction.pred_xyz.shape == (1, 2, 3, 64, 3)
    assert prediction.seed == 11
    (request,) = triton.requests
    assert request.model_name == "alpamayo"
    sent = {name: value for name, value in request.parameters.items()}
    assert {name: value.WhichOneof("parameter_choice") for name, value in sent.items()} == {
        "num_traj_samples": "int64_param",
        "num_traj_sets": "int64_param",
        "temperature": "double_param",
        "seed": "int64_param",
        "deadline_ms": "int64_param",
        "priority": "uint64_param",
        "timeout": "int64_param",
    }
    assert (sent["priority"].uint64_param, sent["timeout"].int64_param) == (1, 30_000_000)
    assert (sent["temperature"].double_param, sent["deadline_ms"].int64_param) == (0.5, 30_000)
    assert dict(zip([i.name for i in request.inputs], request.raw_input_contents, strict=True))["image_frames"] == (
        frames.tobytes()
    )


def test_a_scene_is_asked_about_like_its_parts(connect, triton, encoded, history):
    pose = np.eye(4)
    pose[:3, 3] = 500_000, 5_400_000, 3
    client = connect(triton.url)
    in_parts = client.predict(encoded, *history, seed=1)
    whole = client.predict(Scene(encoded, *history, t0_us=1_700_000_000_000_000, ego_to_world=pose), seed=1)
    one, other = triton.requests
    one.id = other.id = ""  # each its own
    assert one == other
    assert (in_parts.t0_us, in_parts.ego_to_world) == (None, None)
    assert whole.timestamps_us[0] == 1_700_000_000_100_000
    np.testing.assert_allclose(whole.to_world()[0][0, 0, 0, 9], [500_009, 5_400_000, 3])


def test_nothing_is_sent_that_is_wrong(connect, triton, frames, history):
    with pytest.raises(InvalidRequestError):
        connect(triton.url).predict(frames[0], *history)
    with pytest.raises(InvalidRequestError, match="beside a Scene, which has its own"):
        connect(triton.url).predict(Scene(frames, *history), *history)
    with pytest.raises(InvalidRequestError, match="ego_history_rot: got None, wanted both with frames, or a Scene"):
        connect(triton.url).predict(frames, history[0])
    assert triton.requests == []


@pytest.mark.parametrize(
    ("status", "timeout_s", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, None, InvalidRequestError),
        (grpc.StatusCode.UNAVAILABLE, None, UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 30, TimedOutError),
        (grpc.StatusCode.CANCELLED, 30, TimedOutError),
        (grpc.StatusCode.CANCELLED, None, ServerError),
        (grpc.StatusCode.INTERNAL, 30, ServerError),
        (grpc.StatusCode.NOT_FOUND, None, ServerError),
    ],
)
def test_errors_carry_the_servers_words(connect, triton, frames, history, status, timeout_s, error):
    triton.fails_with = status, "top_p: got 7, wanted 0 .. 1"
    with pytest.raises(error, match=r"top_p: got 7, wanted 0 \.\. 1"):
        connect(triton.url).predict(frames, *history, timeout_s=timeout_s)


@pytest.mark.parametrize(("timeout_s", "error"), [(30, TimedOutError), (None, UnavailableError)])
def test_who_has_waited_too_long_in_the_queue_is_out_of_time(connect, triton, frames, history, timeout_s, error):
    """As Triton says it; without a `timeout_s` the longest wait was the server's own."""
    triton.fails_with = grpc.StatusCode.UNAVAILABLE, "Request timeout expired"
    with pytest.raises(error, match="Request timeout expired"):
        connect(triton.url).predict(frames, *history, timeout_s=timeout_s)


def test_grpc_lets_a_call_live_longer_than_the_caller_waits(connect, triton, frames, history, monkeypatch):
    """The server answers it when it stops working on it; Triton can crash if gRPC cancels it just then."""
    monkeypatch.setattr("alpamayo_client.connection.GRACE_S", 600)
    connect(triton.url).predict(frames, *history, timeout_s=300)
    (left_s,) = triton.left_s
    assert left_s > 600


def test_nobody_listens(connect, closed_url, frames, history):
    client = connect(closed_url)
    with pytest.raises(UnavailableError, match=closed_url):
        client.predict(frames, *history)
    with pytest.raises(UnavailableError, match=closed_url):
        client.metadata()
    with pytest.raises(UnavailableError, match=rf"{closed_url} is not ready after 0\.5 s: .*refused"):
        client.wait_until_ready(timeout_s=0.5)


def test_nobody_answers(connect, silent_url, frames, history):
    with pytest.raises(TimedOutError, match=rf"{silent_url} gave no answer within 0\.3 s"):
        connect(silent_url).predict(frames, *history, timeout_s=0.3)


def test_ready_means_every_model(connect, triton):
    client = connect(triton.url)
    client.wait_until_ready(timeout_s=30)
    triton.ready -= {"alpamayo_denoiser", "alpamayo_unicycle"}
    with pytest.raises(UnavailableError, match="models not ready: alpamayo_denoiser, alpamayo_unicycle"):
        client.wait_until_ready(timeout_s=0)
    triton.ready.clear()
    with pytest.raises(UnavailableError, match="unknown model: 'alpamayo'"):
        client.wait_until_ready(timeout_s=0)


def test_metadata_is_the_servers_and_exports(connect, triton):
    client = connect(triton.url)
    assert client.metadata() == {"server": {"name": "triton", "version": "2.51.0"}, "checkpoint": "tiny"}
    triton.metadata_json = None
    assert list(client.metadata()) == ["server"]
    for broken in ["{", "[1]"]:
        triton.metadata_json = broken
        with pytest.raises(ServerError, match="parameter alpamayo of model alpamayo is not a JSON object"):
            client.metadata()


def test_stage_times_of_one_request(connect, triton, frames, history):
    client = connect(triton.url)
    client.predict(frames, *history)
    before = client.stage_times()
    assert list(before) == STAGES
    client.predict(frames, *history)
    client.predict(frames, *history)
    took = client.stage_times(since=before)
    assert took["alpamayo_denoiser"] == StageTime(2, pytest.approx(0.002), pytest.approx(2 * 3 * 2.0))
    assert took["alpamayo_denoiser"].mean_compute_s == pytest.approx(3 * 2.0)
    assert StageTime(0, 0.0, 0.0).mean_compute_s == 0.0


def test_stage_times_wait_for_the_last_stage_to_count(connect, triton, frames, history):
    client = connect(triton.url)
    before = client.stage_times()
    client.predict(frames, *history)
    triton.uncounted = 2
    assert {time.requests for time in client.stage_times(since=before).values()} == {1}


def test_a_closed_client(triton, frames, history):
    async def ask():
        client = AsyncAlpamayoClient(triton.url)
        await client.close()
        await client.close()
        await client.predict(frames, *history)

    client = AlpamayoClient(triton.url)
    client.close()
    client.close()
    for call in (
        client.wait_until_ready,
        client.metadata,
        client.stage_times,
        lambda: client.predict(frames, *history),
    ):
        with pytest.raises(InvalidRequestError, match=r"is closed: make another"):
            call()
    with pytest.raises(InvalidRequestError, match=r"is closed: make another"):
        asyncio.run(ask())


def test_a_client_that_is_closed_while_it_waits_for_the_server(closed_url, silent_url):
    async def wait_and_close(url):
        client = AsyncAlpamayoClient(url)
        waiting = asyncio.create_task(client.wait_until_ready(60))
        await asyncio.sleep(0)
        await client.close()
        await waiting

    for url in (closed_url, silent_url):
        with pytest.raises((InvalidRequestError, asyncio.CancelledError)):  # between two calls, or in one
            asyncio.run(wait_and_close(url))


def test_who_is_out_of_time_has_told_the_server(triton, frames, history):
    """However soon the client is closed then; and the call itself is not cancelled at once, but answered."""
    released = threading.Event()
    noted = response_message({"noted": np.array([True])})

    def slowly(request):
        if request.model_name == "alpamayo_cancel":
            told.append(request.raw_input_contents[0][4:].decode())
            released.set()
            return noted
        asked.append(request.id)
        released.wait(60)
        return response_message(triton.outputs)

    async def ask():
        async with AsyncAlpamayoClient(triton.url) as client:
            await client.predict(frames, *history, timeout_s=0.2)

    asked, told = [], []
    triton.answer_infer = slowly
    for _ in range(2):
        with pytest.raises(TimedOutError), AlpamayoClient(triton.url) as client:
            client.predict(frames, *history, timeout_s=0.2)
        released.clear()
    with pytest.raises(TimedOutError):
        asyncio.run(ask())
    assert len(asked) == 3
    assert told == asked


@pytest.mark.parametrize("cancels", [1, 2, 5])
def test_who_cancels_again_and_again_has_told_the_server(triton, frames, history, cancels):
    """As anyio does, until the task has ended."""
    asked, told = threading.Event(), []
    released = threading.Event()

    def slowly(request):
        if request.model_name == "alpamayo_cancel":
            told.append(request.raw_input_contents[0])
            released.set()
            return response_message({"noted": np.array([True])})
        asked.set()
        released.wait(60)
        return response_message(triton.outputs)

    async def ask_and_give_up():
        async with AsyncAlpamayoClient(triton.url) as client:
            task = asyncio.create_task(client.predict(frames, *history))
            await asyncio.to_thread(asked.wait, 60)
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task])
            assert task.cancelled()

    triton.answer_infer = slowly
    asyncio.run(ask_and_give_up())
    assert len(told) == 1


def test_closing_that_is_cancelled_gives_the_connection_back_all_the_same(silent_url, frames, history):
    async def close_and_give_up():
        client = AsyncAlpamayoClient(silent_url)
        task = asyncio.create_task(client.predict(frames, *history))
        await asyncio.sleep(0)  # it is under way
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        closing.cancel()
        ends = await asyncio.gather(closing, task, return_exceptions=True)
        return [type(end) for end in ends], client._triton._channel.get_state()

    ends, state = asyncio.run(close_and_give_up())
    assert ends == [asyncio.CancelledError, asyncio.CancelledError]
    assert state == grpc.ChannelConnectivity.SHUTDOWN


def test_many_requests_at_once(triton, frames, history):
    triton.outputs = answer(samples=2)

    async def ask():
        async with AsyncAlpamayoClient(triton.url) as client:
            return await asyncio.gather(*[client.predict(frames, *history) for _ in range(4)])

    for prediction in asyncio.run(ask()):
        np.testing.assert_array_equal(prediction.pred_xyz, triton.outputs["pred_xyz"])
