"""More requests than can be answered: those that find no place are told at once, and the urgent ones go first."""

import asyncio
from contextlib import contextmanager
from uuid import uuid4

import pytest
from alpamayo_client import AlpamayoClient, AsyncAlpamayoClient, Scene, UnavailableError
from alpamayo_client.evaluation.asking import EXPIRED, FULL

from .conftest import LONG_THOUGHTS, SMALL
from .golden_case import golden_case
from .live_server import until
from .wire import ask, tensors, texts

SCENE = golden_case("greedy")
REASONER = "alpamayo_reasoner"
FAILURE = "nv_inference_request_failure"
PLACES = 16  # of each priority: config.pbtxt
WAIT_S = 120
URGENT, USUAL, LATER = 1, 2, 3


class Caller:
    """Sends requests without waiting; the answers come in the order in which they were made."""

    def __init__(self, triton, inputs):
        self.triton, self.inputs, self.answered, self.errors = triton, inputs, [], {}

    def send(self, name, parameters=SMALL, **options):
        def done(result, error):
            self.errors[name] = error
            self.answered.append(name)

        return self.triton.async_infer("alpamayo", tensors(self.inputs), done, parameters=dict(parameters), **options)


@pytest.fixture
def caller(triton, small_scene):
    return Caller(triton, small_scene)


@pytest.fixture
def occupied(triton, caller, runs):
    """A block in which the reasoner is busy with a long request, which is given up at its end."""

    @contextmanager
    def occupy():
        before, request_id = runs(REASONER), uuid4().hex
        caller.send("long", parameters=LONG_THOUGHTS, request_id=request_id)
        until(lambda: runs(REASONER) > before, "the long request to run")
        yield
        assert "long" not in caller.answered, "the long request was too short for this test"
        ask(triton, {"request_id": texts(request_id.encode())}, model="alpamayo_cancel")

    return occupy


def wait_for(caller, *names):
    until(lambda: set(names) <= set(caller.answered), f"answers to {names}")


def test_what_finds_no_place_is_told_at_once(server, caller, occupied, assert_still_serving):
    waiting = [f"{i} in the queue" for i in range(PLACES)]
    rejected = server.metric(FAILURE, model=REASONER, reason="REJECTED")
    with occupied():
        for name in waiting:
            caller.send(name)
        until(lambda: server.waiting(REASONER) == PLACES, "the queue to be full")
        before = server.metric(FAILURE, model="alpamayo", reason="OTHER")
        caller.send("one too many")
        wait_for(caller, "one too many")
        assert server.metric(FAILURE, model="alpamayo", reason="OTHER") == before + 2  # as the README says
        assert caller.errors["one too many"].status() == "StatusCode.UNAVAILABLE"
        assert FULL in caller.errors["one too many"].message()
        with AlpamayoClient(server.grpc) as client, pytest.raises(UnavailableError, match=FULL):
            client.predict(*SCENE.scene)
        caller.send("urgent", priority=URGENT)  # has places of its own
        until(lambda: server.waiting(REASONER) == PLACES + 1, "the urgent one to wait")
        assert server.metric(FAILURE, model=REASONER, reason="REJECTED") == rejected
    wait_for(caller, "long", "urgent", *waiting)
    assert [caller.errors[name] for name in ("urgent", *waiting)] == [None] * (PLACES + 1)
    assert_still_serving()


def test_the_urgent_go_first(server, caller, occupied):
    names = ("later", "usual", "urgent")
    with occupied():
        for count, (name, priority) in enumerate(zip(names, (LATER, USUAL, URGENT), strict=True), start=1):
            caller.send(name, priority=priority)
            until(lambda count=count: server.waiting(REASONER) == count, f"the {name} request to wait")
    wait_for(caller, "long", *names)
    assert caller.answered == ["long", "urgent", "usual", "later"]


def test_who_has_waited_longer_than_allowed_is_not_worked_on(server, caller, occupied, runs, assert_still_serving):
    with occupied():
        before, rejected = runs(REASONER), server.metric(FAILURE, model=REASONER, reason="REJECTED")
        caller.send("impatient", timeout=1)  # microseconds
        until(lambda: server.waiting(REASONER) == 1, "it to wait")
    wait_for(caller, "long", "impatient")
    assert caller.errors["impatient"].status() == "StatusCode.UNAVAILABLE"
    assert EXPIRED in caller.errors["impatient"].message()
    assert runs(REASONER) == before
    assert server.metric(FAILURE, model=REASONER, reason="REJECTED") == rejected + 1
    assert_still_serving()


def test_beside_one_who_floods_the_urgent_are_answered(server, small_scene, assert_still_serving):
    """Forty requests always under way, asked again as soon as they are answered or turned away."""
    scene = Scene(*(small_scene[name] for name in ("image_frames", "ego_history_xyz", "ego_history_rot")))
    turned_away, answered = [], []

    async def flood(client, over):
        while not over.is_set():
            try:
                await client.predict(scene, **SMALL)
                answered.append(1)
            except UnavailableError as error:
                turned_away.append(str(error))
                await asyncio.sleep(0)

    async def both():
        over = asyncio.Event()
        async with AsyncAlpamayoClient(server.grpc) as flooding, AsyncAlpamayoClient(server.grpc) as other:
            floods = [asyncio.create_task(flood(flooding, over)) for _ in range(40)]
            await asyncio.to_thread(until, lambda: len(turned_away) > 0, "the queue to be full")
            for _ in range(3):
                prediction = await other.predict(scene, **SMALL, priority=URGENT, timeout_s=WAIT_S)
                assert prediction.pred_xyz.shape == (1, 1, 2, 64, 3)
            over.set()
            await asyncio.gather(*floods)

    asyncio.run(both())
    assert answered
    assert all("maximum queue size" in it for it in turned_away)
    assert_still_serving()
