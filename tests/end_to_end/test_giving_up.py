"""Clients that wait no longer (a timeout, a cancelled task, Ctrl-C): they end, and the server's work for them too."""

import asyncio
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from alpamayo_client import AlpamayoClient, AsyncAlpamayoClient, TimedOutError

from .conftest import LONG, LONG_THOUGHTS, PATIENCE_S, SMALL
from .golden_case import golden_case
from .live_server import until
from .wire import ask, assert_same, send

SCENE = golden_case("greedy")


class TooLong(Exception):
    """A watchdog's own, say."""


def test_the_client_s_timeout(client, stopped, assert_still_serving):
    before = stopped("")
    with pytest.raises(TimedOutError, match=r"0\.3 s"):
        client.predict(*SCENE.scene, **LONG, timeout_s=0.3)
    until(lambda: stopped("") == before + 1, "the server to stop too")
    assert_still_serving()
    assert client.predict(*SCENE.scene, max_generation_length=2, timeout_s=600).pred_xyz.shape == (1, 1, 1, 64, 3)


@pytest.mark.parametrize("kind", [AlpamayoClient, AsyncAlpamayoClient])
def test_a_timeout_that_is_spent_partly_in_the_queue(kind, server, triton, runs, stopped, assert_still_serving):
    """The server's own clock, deadline_ms, starts when the reasoner does: by it, the request would run on."""

    def ask_and_wait_in_vain():
        with AlpamayoClient(server.grpc) as client:
            client.predict(*SCENE.scene, **LONG, timeout_s=3)

    async def ask_and_await_in_vain():
        async with AsyncAlpamayoClient(server.grpc) as client:
            await client.predict(*SCENE.scene, **LONG, timeout_s=3)

    before, run_before = stopped("cancelled by its caller"), runs("alpamayo_reasoner")
    _, answers = send(triton, "alpamayo_reasoner", SCENE.inputs, {**LONG_THOUGHTS, "deadline_ms": 1500})
    until(lambda: runs("alpamayo_reasoner") > run_before, "the long request to run")
    with pytest.raises(TimedOutError, match=r"within 3\.0 s"):
        ask_and_wait_in_vain() if kind is AlpamayoClient else asyncio.run(ask_and_await_in_vain())
    assert "deadline_ms is spent" in str(answers.get(timeout=PATIENCE_S)[1])
    assert runs("alpamayo_reasoner") == run_before + 2
    until(lambda: stopped("cancelled by its caller") == before + 1, "the server to have been told")
    assert_still_serving()


def test_a_cancelled_task_of_the_async_client(server, runs, stopped, assert_still_serving):
    stopped_before = stopped("cancelled by its caller")

    async def ask_and_give_up():
        async with AsyncAlpamayoClient(server.grpc) as client:
            before = runs("alpamayo_reasoner")
            task = asyncio.create_task(client.predict(*SCENE.scene, **LONG_THOUGHTS))
            await asyncio.to_thread(until, lambda: runs("alpamayo_reasoner") > before, "the long request to run")
            patient = asyncio.create_task(client.predict(*SCENE.scene, max_generation_length=2))
            await asyncio.to_thread(until, lambda: server.waiting("alpamayo_reasoner") == 1, "the other to wait")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await patient

    assert asyncio.run(ask_and_give_up()).pred_xyz.shape == (1, 1, 1, 64, 3)
    until(lambda: stopped("cancelled by its caller") == stopped_before + 1, "the line of the stage that ran")
    assert_still_serving()


def test_an_async_client_that_closes_at_once_has_told_the_server(server, runs, stopped, assert_still_serving):
    async def ask_and_leave():
        async with AsyncAlpamayoClient(server.grpc) as client:
            before = runs("alpamayo_reasoner")
            task = asyncio.create_task(client.predict(*SCENE.scene, **LONG_THOUGHTS))
            await asyncio.to_thread(until, lambda: runs("alpamayo_reasoner") > before, "the long request to run")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    before = stopped("cancelled by its caller")
    asyncio.run(ask_and_leave())
    until(lambda: stopped("cancelled by its caller") == before + 1, "the line of the stage that ran")
    assert_still_serving()


def test_an_async_call_that_is_cancelled_as_the_loop_ends(server, stopped, assert_still_serving):
    """Nobody closes the client, and the loop cancels whatever else still runs in it."""

    async def ask_and_leave():
        await asyncio.wait_for(AsyncAlpamayoClient(server.grpc).predict(*SCENE.scene, **LONG_THOUGHTS), timeout=0.5)

    before = stopped("cancelled by its caller")
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(ask_and_leave())
    until(lambda: stopped("cancelled by its caller") == before + 1, "the line of the stage that ran")
    assert_still_serving()


def test_an_async_client_that_closes_while_others_wait(server, runs, stopped, assert_still_serving, caplog):
    """One of a gather fails, and so the block is left while the other is under way."""
    ends = []

    async def ask_for_both():
        async with AsyncAlpamayoClient(server.grpc) as client:
            before = runs("alpamayo_reasoner")

            async def fail():
                await asyncio.to_thread(until, lambda: runs("alpamayo_reasoner") > before, "the other to run")
                raise TooLong

            async def wait():
                try:
                    await client.predict(*SCENE.scene, **LONG_THOUGHTS)
                except BaseException as error:
                    ends.append(type(error))
                    raise

            await asyncio.gather(fail(), wait())

    before = stopped("cancelled by its caller")
    with pytest.raises(TooLong):
        asyncio.run(ask_for_both())
    assert ends == [asyncio.CancelledError]
    assert "never retrieved" not in caplog.text
    until(lambda: stopped("cancelled by its caller") == before + 1, "the line of the stage that ran")
    assert_still_serving()


def test_the_async_client_s_timeout(server, stopped, assert_still_serving):
    async def ask_and_wait_in_vain():
        async with AsyncAlpamayoClient(server.grpc) as client:
            with pytest.raises(TimedOutError, match=r"0\.3 s"):
                await client.predict(*SCENE.scene, **LONG, timeout_s=0.3)

    before = stopped("")
    asyncio.run(ask_and_wait_in_vain())
    until(lambda: stopped("") == before + 1, "the server to stop too")
    assert_still_serving()


def test_a_timeout_that_is_spent_in_the_queue(server, triton, runs, small_scene, first_answer):
    """Whoever gave up while waiting costs nothing: no stage runs behind the queue."""
    driven_before, run_before = runs("alpamayo_unicycle"), runs("alpamayo_reasoner")
    call, answers = send(triton, "alpamayo_reasoner", SCENE.inputs, LONG_THOUGHTS)
    until(lambda: runs("alpamayo_reasoner") > run_before, "the long request to run")
    with AlpamayoClient(server.grpc) as client, pytest.raises(TimedOutError):
        client.predict(*SCENE.scene, **LONG, timeout_s=0.2)
    assert answers.empty()
    call.cancel()
    assert answers.get(timeout=PATIENCE_S)[1] is not None
    assert_same(ask(triton, small_scene, SMALL), first_answer)
    assert runs("alpamayo_unicycle") == driven_before + 1
    assert runs("alpamayo_reasoner") == run_before + 2  # the long one and the small one


INTERRUPTED = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background has switched it off
import sys
import numpy as np
from alpamayo_client import AlpamayoClient
scene = np.load(sys.argv[2])
AlpamayoClient(sys.argv[1]).predict(scene["frames"], scene["xyz"], scene["rot"], **eval(sys.argv[3]))
"""


def test_an_interrupted_client(server, triton, runs, stopped, small_scene, first_answer, tmp_path):
    """Ctrl-C in a script that waits: it ends at once, and so does the work for it."""
    frames, xyz, rot = SCENE.scene
    np.savez(tmp_path / "scene.npz", frames=frames, xyz=xyz, rot=rot)
    stopped_before, run_before = stopped("cancelled by its caller"), runs("alpamayo_reasoner")
    script = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, server.grpc, tmp_path / "scene.npz", repr(LONG_THOUGHTS)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: runs("alpamayo_reasoner") > run_before, "the long request to run")
        script.send_signal(signal.SIGINT)
        _, words = script.communicate(timeout=PATIENCE_S)
        assert words.rstrip().endswith("KeyboardInterrupt")
    finally:
        script.kill()
        script.wait()
    until(lambda: stopped("cancelled by its caller") == stopped_before + 1, "the line of the stage that ran")
    assert_same(ask(triton, small_scene, SMALL), first_answer)


def test_a_blocking_client_that_something_else_interrupts(server, runs, stopped, assert_still_serving):
    def interrupt(*_):
        raise TooLong

    def watch():
        until(lambda: runs("alpamayo_reasoner") > run_before, "the long request to run")
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    before, run_before = stopped("cancelled by its caller"), runs("alpamayo_reasoner")
    usual = signal.signal(signal.SIGALRM, interrupt)
    watchdog = threading.Thread(target=watch)
    try:
        watchdog.start()
        with AlpamayoClient(server.grpc) as client, pytest.raises(TooLong):
            client.predict(*SCENE.scene, **LONG_THOUGHTS)
    finally:
        watchdog.join()
        signal.signal(signal.SIGALRM, usual)
    until(lambda: stopped("cancelled by its caller") == before + 1, "the line of the stage that ran")
    assert_still_serving()
