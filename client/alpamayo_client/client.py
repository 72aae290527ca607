"""The blocking client."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import Any

from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException

from .base import BaseClient
from .connection import CANCEL_S, CONTROL_CALL_S, FORGET_S, SETTLE_POLL_S, SETTLE_S, Budget, Patience, Tls, channel
from .errors import TimedOutError, triton_errors
from .prediction import Prediction, parse_response
from .request import FRAMES, Request, cancel_input, infer_inputs, is_noted
from .scene import Scene
from .server_info import (
    CANCEL,
    ENSEMBLE,
    StageTime,
    is_settled,
    parse_metadata,
    parse_stage_times,
    stage_names,
    times_since,
)
from .shared_memory import Region, may_soon_be_unregistered, registering


class AlpamayoClient(BaseClient[Prediction]):
    """Blocking client of one server. Use it from one thread; `close()` it, or use it in a `with` block.

    Whatever ends a `predict` before its answer (a timeout, Ctrl-C, an exception from elsewhere) ends the server's work
    on it too, within a token or an Euler step.
    """

    def _open(self, tls: Tls | None) -> None:
        self._triton = InferenceServerClient(self.url, **channel(tls))
        self._triton.register_plugin(self._headers)
        self._ending: set[Future[InferResult]] = set()

    def __enter__(self) -> "AlpamayoClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back, and shared memory. It can be closed more than once."""
        if self._closed:
            return
        self._closed = True
        try:
            wait(self._ending, CANCEL_S)
            if self._shared is not None:
                self._shared.close()
                self._forget(FORGET_S)
        finally:
            self._triton.close()

    def _infer(self, request: Request, scene: Scene | None) -> Prediction:
        self._check_open()
        budget = Budget(request.timeout_s)
        with self._inputs(request, budget) as inputs, triton_errors(self.url, request.timeout_s):
            call = _Call(
                self._triton,
                ENSEMBLE,
                inputs,
                request_id=request.id,
                parameters=dict(request.parameters),
                client_timeout=budget.grpc_s(),
                priority=request.priority,
                timeout=request.queue_timeout_us,
            )
            try:
                wait([call.answer], budget.left_s())
            except BaseException:  # Ctrl-C, or whatever else ends the waiting
                self._end(request, call)
                wait(self._ending, CANCEL_S)  # the program may be over then
                raise
            if not call.answer.done():
                self._end(request, call)  # begins to: who is out of time does not wait for that
                raise TimedOutError(f"{self.url} gave no answer within {request.timeout_s} s")
            result = call.answer.result()
        self._forget(0)
        return parse_response(result, scene)

    def _end(self, request: Request, call: "_Call") -> None:
        """Have the server stop working on it, and so answer it; where that cannot be, cancel the call."""
        with suppress(InferenceServerException):
            told = _Call(self._triton, CANCEL, cancel_input(request), client_timeout=CANCEL_S, priority=1)
            told.answer.add_done_callback(
                lambda it: None if it.exception() is None and is_noted(it.result()) else call.cancel()
            )
            self._ending = {it for it in self._ending if not it.done()} | {told.answer, call.answer}

    @contextmanager
    def _inputs(self, request: Request, budget: Budget) -> Iterator[list[InferInput]]:
        """The request's tensors, for the block: its frames in shared memory, if they are to go there."""
        if self._shared is None or FRAMES not in request.inputs:
            yield infer_inputs(request)
            return
        with self._shared.holding(request.inputs[FRAMES]) as region:
            # Each time: the server may be another one by now.
            with registering(self.url, request.timeout_s or CONTROL_CALL_S):
                region.register(self._triton, budget.control_s())
            yield infer_inputs(request, region.name)

    def _forget(self, wait_s: float) -> None:
        """Have the server let go of what is freed: now, or what is in use there for `wait_s` at most, or later."""
        if self._shared is None:
            return
        end, regions = time.monotonic() + wait_s, self._shared.take_freed()
        while regions := [it for it in regions if not self._is_forgotten(it)]:
            if time.monotonic() >= end:
                break
            time.sleep(SETTLE_POLL_S)
        self._shared.freed += regions

    def _is_forgotten(self, region: Region) -> bool:
        try:
            region.unregister(self._triton, CANCEL_S)
        except InferenceServerException as error:
            return not may_soon_be_unregistered(error)
        return True

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Return once every model of the ensemble is ready. Raises UnavailableError saying which are not.

        Triton before 2026 goes on calling a model ready whose process has died; asking it gives a ServerError.
        """
        patience = Patience(self.url, timeout_s)
        self._check_open()
        while reason := self._why_not_ready(patience.probe_s):
            time.sleep(patience.pause_s(reason))

    def _why_not_ready(self, timeout_s: float) -> str | None:
        # The server's own readiness can overlook a model that is not: ask each.
        try:
            config = self._triton.get_model_config(ENSEMBLE, client_timeout=timeout_s).config
            models = [ENSEMBLE, *stage_names(config)]
            waiting = [m for m in models if not self._triton.is_model_ready(m, client_timeout=timeout_s)]
        except InferenceServerException as error:
            return str(error.message())
        return f"models not ready: {', '.join(waiting)}" if waiting else None

    def metadata(self) -> dict[str, Any]:
        """What is served: `server` (name, version), and what export recorded: checkpoint, versions, limits."""
        self._check_open()
        with triton_errors(self.url, CONTROL_CALL_S):
            server = self._triton.get_server_metadata(client_timeout=CONTROL_CALL_S)
            return parse_metadata(server, self._config())

    def stage_times(self, since: Mapping[str, StageTime] | None = None) -> dict[str, StageTime]:
        """What each model of the ensemble took, in their order, for everybody's requests.

        Totals since the server started, or since an earlier snapshot: `before = client.stage_times()`, requests,
        `client.stage_times(since=before)`; this waits up to half a second for Triton to count all of them.
        """
        self._check_open()
        if since is None:
            return self._stage_totals()
        end = time.monotonic() + SETTLE_S
        while not is_settled(times := times_since(self._stage_totals(), since)) and time.monotonic() < end:
            time.sleep(SETTLE_POLL_S)
        return times

    def _stage_totals(self) -> dict[str, StageTime]:
        with triton_errors(self.url, CONTROL_CALL_S):
            statistics = self._triton.get_inference_statistics(client_timeout=CONTROL_CALL_S)
            return parse_stage_times(statistics, stage_names(self._config()))

    def _config(self) -> Any:
        return self._triton.get_model_config(ENSEMBLE, client_timeout=CONTROL_CALL_S).config


class _Call:
    """One under way. Its answer can be waited for, and no longer be waited for; it goes on all the same."""

    def __init__(self, triton: InferenceServerClient, model: str, inputs: list[InferInput], **options: Any) -> None:
        """`options`: of tritonclient's `async_infer`."""
        self.answer: Future[InferResult] = Future()
        self._context = triton.async_infer(model, inputs, self._done, **options)

    def _done(self, result: InferResult | None, error: InferenceServerException | None) -> None:
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)

    def cancel(self) -> None:
        self._context.cancel()
