"""Deadlines and cancelled calls: they end, the work behind them too, and the next request is served."""

import asyncio
from queue import Queue

import numpy as np
import pytest
from alpamayo_client import AsyncAlpamayoClient, TimedOutError
from tritonclient.utils import InferenceServerException

from .conftest import LONG_THOUGHTS, SMALL
from .golden_case import golden_case
from .live_server import until
from .wire import ask, assert_same, tensors

SCENE = golden_case("greedy")
LONG = {**LONG_THOUGHTS, "inference_steps": 100}  # on two cores 25 s in the denoiser
PATIENCE_S = 30  # a small request must not wait for a long one that nobody waits for


def packed(trajectories, prompts=1):
    """The denoiser's inputs for many trajectories of the golden scene's first thought; a longer prompt takes longer."""
    inputs = SCENE.packed()
    prompt = inputs["kv_owner"] == -1
    rows = np.concatenate([np.flatnonzero(prompt)] * prompts + [np.flatnonzero(~prompt)])
    return inputs | {
        "kv_cache": inputs["kv_cache"][:, :, :, rows],
        "kv_owner": inputs["kv_owner"][rows],
        "action_owner": np.zeros(trajectories, np.int32),
        "action_position": inputs["action_position"][:1].repeat(trajectories),
        "noise": np.zeros((trajectories, 64, 2), np.float32),
    }


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
    cancelled(triton, packed(32), parameters, model="alpamayo_denoiser")
    assert_still_serving()


def test_the_denoiser_keeps_the_deadline_that_the_reasoner_set(triton, assert_still_serving):
    past, never = np.array([1]), np.array([2**63 - 1])
    cancelled(triton, packed(1) | {"deadline_ns": past}, {}, model="alpamayo_denoiser")
    got = ask(triton, packed(1) | {"deadline_ns": never}, {"deadline_ms": 0}, model="alpamayo_denoiser")
    assert np.isfinite(got["normalized_action"]).all()
    assert_still_serving()


def test_the_client_s_timeout(client, assert_still_serving):
    with pytest.raises(TimedOutError, match=r"0\.3 s"):
        client.predict(*SCENE.scene, **LONG, timeout_s=0.3)
    assert_still_serving()
    assert client.predict(*SCENE.scene, max_generation_length=2, timeout_s=600).pred_xyz.shape == (1, 1, 1, 64, 3)


def send(triton, model, inputs, parameters):
    """Sends without waiting. Returns tritonclient's call, and where (answer, error) will be."""
    answers = Queue()
    call = triton.async_infer(
        model, tensors(inputs), lambda result, error: answers.put((result, error)), parameters=parameters
    )
    return call, answers


@pytest.mark.parametrize(
    ("model", "long", "short"),
    [
        ("alpamayo_reasoner", (SCENE.inputs, LONG_THOUGHTS), (SCENE.inputs, SMALL)),
        ("alpamayo_denoiser", (packed(32, prompts=3), {"inference_steps": 100}), (packed(1), {})),
    ],
    ids=["reasoner", "denoiser"],
)
def test_a_cancelled_call_makes_way_for_the_one_that_waits(
    server, triton, runs, assert_still_serving, model, long, short
):
    def stopped():
        return server.log.read_text().count("stopped working: the request was cancelled by its caller")

    before, run_before = stopped(), runs(model)
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
    until(lambda: stopped() == before + 1, "the cancelled call's line in the log")
    assert_still_serving()


def test_a_cancelled_call_of_the_ensemble_goes_no_further(server, triton, runs, small_scene, first_answer):
    """Triton tells an ensemble's running stage nothing: it is the next one that does not run."""
    driven_before, run_before = runs("alpamayo_unicycle"), runs("alpamayo_reasoner")
    call, answers = send(triton, "alpamayo", SCENE.inputs, LONG_THOUGHTS)
    until(lambda: runs("alpamayo_reasoner") > run_before, "the long request to run")
    _, answers_to_short = send(triton, "alpamayo", small_scene, SMALL)
    until(lambda: server.waiting("alpamayo_reasoner") == 1, "the short request to wait behind the long one")
    call.cancel()
    assert answers.get(timeout=PATIENCE_S)[1] is not None
    result, error = answers_to_short.get(timeout=PATIENCE_S)
    assert error is None
    assert_same({name: result.as_numpy(name) for name in first_answer}, first_answer)
    # In the log before it is run, and so before it is answered; Triton's statistics count after the answer.
    assert runs("alpamayo_unicycle") == driven_before + 1


def test_a_cancelled_task_of_the_async_client(server, runs, assert_still_serving):
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
    assert_still_serving()
