"""Deadlines and cancelled calls, as the server sees them: the work behind them ends, and the next request is served."""

import json
import socket
from queue import Queue
from uuid import uuid4

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from .conftest import LONG, LONG_THOUGHTS, PATIENCE_S, SMALL
from .golden_case import golden_case
from .live_server import START_S, until
from .wire import ask, assert_same, json_body, send, tensors, texts

SCENE = golden_case("greedy")


def cancelled(triton, inputs, parameters, **model):
    with pytest.raises(InferenceServerException, match="deadline_ms is spent") as error:
        ask(triton, inputs, parameters, **model)
    assert error.value.status() == "StatusCode.CANCELLED"


@pytest.mark.parametrize("deadline_ms", [0, 1, 0.5, 400])
def test_a_spent_deadline_cancels(triton, assert_still_serving, deadline_ms):
    cancelled(triton, SCENE.inputs, {**LONG, "deadline_ms": deadline_ms})
    assert_still_serving()


def test_a_generous_deadline_changes_nothing(triton, small_scene, first_answer):
    assert_same(ask(triton, small_scene, {**SMALL, "deadline_ms": 600_000}), first_answer)
    assert_same(ask(triton, small_scene, {**SMALL, "deadline_ms": 1e300}), first_answer)


def test_the_reasoner_notices_its_deadline_between_tokens(triton, assert_still_serving):
    cancelled(triton, SCENE.inputs, {**LONG_THOUGHTS, "deadline_ms": 400}, model="alpamayo_reasoner")
    assert_still_serving()


def test_the_denoiser_notices_its_deadline_between_steps(triton, assert_still_serving):
    parameters = {"inference_steps": 100, "deadline_ms": 400}
    cancelled(triton, SCENE.packed_many(32), parameters, model="alpamayo_denoiser")
    assert_still_serving()


def test_the_denoiser_keeps_the_deadline_that_the_reasoner_set(triton, assert_still_serving):
    past, never = np.array([1]), np.array([2**63 - 1])
    cancelled(triton, SCENE.packed_many(1) | {"deadline_ns": past}, {}, model="alpamayo_denoiser")
    got = ask(triton, SCENE.packed_many(1) | {"deadline_ns": never}, {"deadline_ms": 0}, model="alpamayo_denoiser")
    assert np.isfinite(got["normalized_action"]).all()
    assert_still_serving()


@pytest.mark.parametrize(
    ("model", "long", "short"),
    [
        ("alpamayo_reasoner", (SCENE.inputs, LONG_THOUGHTS), (SCENE.inputs, SMALL)),
        ("alpamayo_denoiser", (SCENE.packed_many(32, prompts=3), {"inference_steps": 100}), (SCENE.packed_many(1), {})),
    ],
    ids=["reasoner", "denoiser"],
)
def test_a_cancelled_call_makes_way_for_the_one_that_waits(
    triton, server, runs, stopped, assert_still_serving, model, long, short
):
    before, run_before = stopped("cancelled by its caller"), runs(model)
    call, answers = send(triton, model, *long)
    until(lambda: runs(model) > run_before, "the long request to run")  # or a smaller one might overtake it
    _, answers_to_short = send(triton, model, *short)
    until(lambda: server.waiting(model) == 1, "the short request to wait behind the long one")
    assert answers.empty()
    call.cancel()
    result, error = answers.get(timeout=PATIENCE_S)
    assert result is None
    assert "cancel" in str(error).lower()
    result, error = answers_to_short.get(timeout=PATIENCE_S)
    assert error is None
    # Not: finished for nobody. The log comes by a way of its own, maybe after the answer.
    until(lambda: stopped("cancelled by its caller") == before + 1, "the cancelled call's line in the log")
    assert_still_serving()


@pytest.fixture
def cancel(triton):
    """Asks the server to work no longer on the call of that id."""
    return lambda request_id: ask(triton, {"request_id": texts(request_id.encode())}, model="alpamayo_cancel")


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("alpamayo_reasoner", LONG_THOUGHTS), ("alpamayo_denoiser", LONG | {"max_generation_length": 2})],
    ids=["thinking", "denoising"],
)
def test_a_call_of_the_ensemble_that_is_given_up_by_its_id(
    triton, runs, stopped, cancel, assert_still_serving, model, parameters
):
    before, run_before = stopped("cancelled by its caller"), runs(model)
    _, answers = send(triton, "alpamayo", SCENE.inputs, parameters, request_id=f"of one kind, {model}")
    until(lambda: runs(model) > run_before, "the long request to run")
    assert cancel("one of another kind")["noted"].tolist() == [True]
    assert answers.empty()
    assert cancel(f"of one kind, {model}")["noted"].tolist() == [True]
    _, error = answers.get(timeout=PATIENCE_S)
    assert error.status() == "StatusCode.CANCELLED"
    until(lambda: stopped("cancelled by its caller") == before + 1, "its line in the log")
    assert_still_serving()


def test_many_are_given_up_at_once(triton, assert_still_serving):
    """More than any stage's queue has places: none is turned away."""
    answers = Queue()
    for _ in range(100):
        inputs = tensors({"request_id": texts(uuid4().hex.encode())})
        triton.async_infer("alpamayo_cancel", inputs, lambda result, error: answers.put((result, error)), priority=1)
    ends = [answers.get(timeout=PATIENCE_S) for _ in range(100)]
    assert [error for _, error in ends] == [None] * 100
    assert all(result.as_numpy("noted")[0] for result, _ in ends)
    assert_still_serving()


def test_a_call_that_is_given_up_while_it_waits(server, triton, runs, cancel, assert_still_serving):
    denoised_before, run_before = runs("alpamayo_denoiser"), runs("alpamayo_reasoner")
    call, _ = send(triton, "alpamayo_reasoner", SCENE.inputs, LONG_THOUGHTS)
    until(lambda: runs("alpamayo_reasoner") > run_before, "the long request to run")
    _, answers = send(triton, "alpamayo", SCENE.inputs, SMALL, request_id="one of a kind, 2")
    until(lambda: server.waiting("alpamayo_reasoner") == 1, "the other to wait")
    cancel("one of a kind, 2")
    call.cancel()
    _, error = answers.get(timeout=PATIENCE_S)
    assert error.status() == "StatusCode.CANCELLED"
    with pytest.raises(InferenceServerException, match="cancelled by its caller"):  # another try needs a new id
        ask(triton, SCENE.inputs, SMALL, request_id="one of a kind, 2")
    assert runs("alpamayo_denoiser") == denoised_before
    assert_still_serving()


def test_a_cancelled_call_of_the_ensemble_goes_no_further(server, triton, runs, small_scene, first_answer):
    """Of one who does not ask `alpamayo_cancel`: it is the next stage that does not run."""
    driven_before, run_before = runs("alpamayo_unicycle"), runs("alpamayo_reasoner")
    # Long enough for another to come, and no longer: this one is worked on to its end.
    call, answers = send(triton, "alpamayo", SCENE.inputs, LONG_THOUGHTS | {"num_traj_samples": 8})
    until(lambda: runs("alpamayo_reasoner") > run_before, "the long request to run")
    _, answers_to_short = send(triton, "alpamayo", small_scene, SMALL)
    until(lambda: server.waiting("alpamayo_reasoner") == 1, "the short request to wait behind the long one")
    call.cancel()
    assert answers.get(timeout=PATIENCE_S)[1] is not None
    result, error = answers_to_short.get(timeout=START_S)
    assert error is None
    assert_same({name: result.as_numpy(name) for name in first_answer}, first_answer)
    # In the log before it is run, and so before it is answered; Triton's statistics count after the answer.
    assert runs("alpamayo_unicycle") == driven_before + 1


def test_an_http_client_that_hangs_up(server, runs, stopped, assert_still_serving):
    """Triton tells nobody that it is gone: its deadline does."""
    content = json.dumps(json_body(SCENE.inputs, {**LONG_THOUGHTS, "deadline_ms": 1000})).encode()
    head = f"POST /v2/models/alpamayo/infer HTTP/1.1\r\nHost: {server.http}\r\nContent-Length: {len(content)}\r\n\r\n"
    host, port = server.http.split(":")
    before, run_before = stopped("deadline_ms is spent"), runs("alpamayo_reasoner")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + content)
        until(lambda: runs("alpamayo_reasoner") > run_before, "the long request to run")
    until(lambda: stopped("deadline_ms is spent") == before + 1, "its deadline")
    assert_still_serving()
