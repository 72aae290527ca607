"""More requests than can be answered: those that find no place are told at once, and the urgent ones go first."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from alpamayo_client import AlpamayoClient, AsyncAlpamayoClient, Scene, UnavailableError
from alpamayo_client.errors import EXPIRED, FULL
from alpamayo_model_repository.own_server import OwnServer

from .conftest import LONG_THOUGHTS, SMALL
from .golden_case import golden_case
from .live_server import until
from .wire import ask, tensors, texts

SCENE = golden_case("greedy")
REASONER = "alpamayo_reasoner"
MODELS = (REASONER, "alpamayo_denoiser", "alpamayo_unicycle")
FAILURE = "nv_inference_request_failure"
KNOCKS = "alpamayo_queue_knocks_total"
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


@pytest.fixture
def knock(server, triton):
    """As a model does itself."""
    own_server = OwnServer(server.http, urlsplit(server.metrics).netloc, {})
    inputs = {it: triton.get_model_config(it, as_json=True)["config"]["input"] for it in MODELS}
    return lambda model, priority: own_server.knock(model, inputs[model], priority)


def wait_for(caller, *names):
    until(lambda: set(names) <= set(caller.answered), f"answers to {names}")


def rejected(server, model=REASONER):
    return server.metric(FAILURE, model=model, reason="REJECTED")


def knocks(server):
    """That the reasoner sent itself."""
    return sum(it.value for it in server.scrape() if it.name == KNOCKS and it.labels["model"] == REASONER)


@pytest.fixture
def waited_in_vain(server, assert_still_serving):
    """How many requests that were somebody's have waited for longer than they may."""

    def count():
        assert_still_serving()  # the knocks are counted with the next request
        return rejected(server) - knocks(server)

    return count


def test_what_finds_no_place_is_told_at_once(server, caller, occupied, assert_still_serving):
    waiting = [f"{i} in the queue" for i in range(PLACES)]
    before_all = rejected(server)
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
        assert rejected(server) == before_all
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


def test_who_has_waited_longer_than_allowed_is_not_worked_on(server, caller, occupied, runs, waited_in_vain):
    in_vain = waited_in_vain()
    with occupied():
        before = runs(REASONER)
        caller.send("impatient", timeout=1)  # microseconds
        until(lambda: server.waiting(REASONER) == 1, "it to wait")
    wait_for(caller, "long", "impatient")
    assert caller.errors["impatient"].status() == "StatusCode.UNAVAILABLE"
    assert EXPIRED in caller.errors["impatient"].message()
    assert runs(REASONER) == before
    assert waited_in_vain() == in_vain + 1


def test_a_queue_that_sleeps_is_woken(server, caller, occupied, waited_in_vain):
    """In most rounds Triton's batcher misses a wake-up, and in no round for certain."""
    in_vain, before = waited_in_vain(), knocks(server)
    for attempt in range(20):
        names = [f"{attempt}, {i}" for i in range(12)]
        with occupied():
            for name in names:
                caller.send(name, parameters=SMALL | {"deadline_ms": 0})
            until(lambda: server.waiting(REASONER) == 12, "them to wait")
        wait_for(caller, "long", *names)
        assert {caller.errors[name].status() for name in names} == {"StatusCode.CANCELLED"}
        caller.answered.clear()
        if knocks(server) > before:
            break
    assert knocks(server) > before
    assert waited_in_vain() == in_vain  # each was refused, and counted once by Triton and once by the model


@pytest.mark.parametrize("priority", [URGENT, USUAL, LATER])
@pytest.mark.parametrize("model", MODELS)
def test_no_model_works_on_a_knock(server, knock, model, priority, runs):
    before, rejected_before = runs(model), rejected(server, model)
    assert knock(model, priority)
    until(lambda: rejected(server, model) == rejected_before + 1, "it to be refused by the queue")
    assert runs(model) == before


def test_a_knock_needs_a_place(server, caller, occupied, knock):
    waiting = [f"{i} in the queue" for i in range(PLACES)]
    with ThreadPoolExecutor(1) as pool:
        with occupied():
            for name in waiting:
                caller.send(name, parameters=SMALL | {"deadline_ms": 0}, priority=URGENT)
            until(lambda: server.waiting(REASONER) == PLACES, "the queue to be full")
            assert not knock(REASONER, URGENT)
            found_a_place = pool.submit(knock, REASONER, LATER)
            until(lambda: server.waiting(REASONER) == PLACES + 1, "it to wait")
        assert found_a_place.result(WAIT_S)
    wait_for(caller, "long", *waiting)


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
