"""Random requests to a real server: a valid answer, or a refusal that names something of the request.

The same few in every `make test`; `make fuzz` goes on with others until one fails or it is interrupted.
"""

import os
from collections import Counter
from itertools import count

import numpy as np
from contract import SUBJECTS
from hypothesis import HealthCheck, given, seed, settings
from tritonclient.utils import InferenceServerException

from .fuzz_requests import FuzzedRequest, requests
from .wire import Tensors, ask

FOREVER = os.environ.get("FUZZ_SEED")  # of the first round
REQUESTS_A_ROUND = 200


def test_random_requests(triton, server, assert_still_serving):
    total = Counter()
    for number in count(int(FOREVER)) if FOREVER else [0]:
        if FOREVER:
            print(f"make fuzz SEED={number}", end=" ", flush=True)  # before it fails
        total += fuzz(triton, number)
        assert_still_serving()
        assert "Traceback" not in server.log.read_text()
        if FOREVER:
            print(", ".join(f"{n} {outcome}" for outcome, n in sorted(total.items())), flush=True)
    assert total["answered"] > REQUESTS_A_ROUND / 10
    assert total["refused"] > REQUESTS_A_ROUND / 10


def fuzz(triton, number: int) -> Counter:
    """One round; how many requests ended in which way."""
    outcomes = Counter()

    @seed(number)
    @settings(max_examples=REQUESTS_A_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(request=requests())
    def one_request(request: FuzzedRequest) -> None:
        outcomes[outcome(triton, request)] += 1

    one_request()
    return outcomes


def outcome(triton, request: FuzzedRequest) -> str:
    """What became of it, if that is allowed."""
    try:
        answer = ask(triton, request.inputs, request.parameters, model=request.model, request_id=request.request_id)
    except InferenceServerException as error:
        # Triton puts the id before some of its words: what stands before a NUL.
        own_id = f"[request id: {request.request_id.partition(chr(0))[0]}] "
        return check_error(request, error.status(), error.message().replace(own_id, ""))
    check_answer(answer)
    return "answered"


def check_error(request: FuzzedRequest, status: str, message: str) -> str:
    assert len(message) < 1000, message
    if status == "StatusCode.CANCELLED":
        assert "deadline_ms" in request.parameters or "deadline_ns" in request.inputs, message
        assert "deadline_ms is spent" in message
        return "out of time"
    if "kv_checksum" in request.inputs and "damaged on its way" in message:  # no fault of the request's, as a rule
        return "damaged"
    assert status == "StatusCode.INVALID_ARGUMENT", (status, message)
    named = [*request.inputs, *map(repr, request.parameters), *SUBJECTS]
    assert any(name in message for name in named), message
    return "refused"


def check_answer(answer: Tensors) -> None:
    for name, array in answer.items():
        assert array.size, name
        if array.dtype.kind == "f":
            assert np.isfinite(array).all(), name
    for thought in answer.get("cot", np.array([])).flat:
        thought.decode()
    if "pred_rot" in answer:
        rot = answer["pred_rot"].astype(np.float64)
        np.testing.assert_allclose(rot @ rot.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rot.shape), atol=1e-5)
        assert answer["pred_xyz"].shape == (*rot.shape[:4], 3)
        assert answer["action"].shape == (*rot.shape[:4], 2)
        assert answer["within_bounds"].shape == rot.shape[:3]
