"""The client for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tritonclient.grpc import InferInput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
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

Outcome = TypeVar("Outcome")


class AsyncAlpamayoClient(BaseClient[Coroutine[Any, Any, Prediction]]):
    """AlpamayoClient for asyncio: every method is awaited. `await close()`, or use it in an `async with` block.

    It belongs to the event loop in which it is made.

    The server stops working, within a token or an Euler step, on a `predict` whose task is cancelled: it has been told
    so (or was silent for a second) when the task ends.
    """

    def _open(self, tls: Tls | None) -> None:
        self._triton = InferenceServerClient(self.url, **channel(tls))
        self._triton.register_plugin(self._headers)
        self._asking: set[asyncio.Task[InferResult]] = set()
        self._calls: set[asyncio.Task[InferResult]] = set()  # of gRPC, with or without somebody who waits
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "AsyncAlpamayoClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connection back, and shared memory; what still waits for an answer is cancelled."""
        if self._closed:
            return
        self._closed = True
        try:
            for task in self._asking:
                task.cancel()
            if ending := self._asking | self._ending:
                await asyncio.wait(ending)
            if self._shared is not None:
                self._shared.close()
                await self._forget(FORGET_S)
        finally:
            await self._triton.close()

    async def _infer(self, request: Request, scene: Scene | None) -> Prediction:
        self._check_open()
        # In a task that is this client's own, so that closing it can end it; who waits for it ends it too.
        return parse_response(await _kept(self._asking, self._ask(request)), scene)

    async def _ask(self, request: Request) -> InferResult:
        budget = Budget(request.timeout_s)
        async with self._inputs(request, budget) as inputs:
            with triton_errors(self.url, request.timeout_s):
                work = self._triton.infer(
                    ENSEMBLE,
                    inputs,
                    request_id=request.id,
                    parameters=dict(request.parameters),
                    client_timeout=budget.grpc_s(),
                    priority=request.priority,
                    timeout=request.queue_timeout_us,
                )
                call = _kept(self._calls, work)
                try:
                    await asyncio.wait({call}, timeout=budget.left_s())
                except asyncio.CancelledError:
                    # Waited for, as the loop may end with whoever gave up; but he may cancel once more.
                    await asyncio.shield(_kept(self._ending, self._end(request, call)))
                    raise
                if not call.done():
                    _kept(self._ending, self._end(request, call))  # who is out of time does not wait for that
                    raise TimedOutError(f"{self.url} gave no answer within {request.timeout_s} s")
                result = call.result()
        await self._forget(0)
        return result

    async def _end(self, request: Request, call: asyncio.Task[InferResult]) -> None:
        """Have the server stop working on it, and so answer it; where that cannot be, cancel the call."""
        budget = Budget(CANCEL_S)
        call.add_done_callback(_forget_error)
        try:
            told = await self._triton.infer(CANCEL, cancel_input(request), client_timeout=budget.left_s(), priority=1)
            if is_noted(told):
                await asyncio.wait({call}, timeout=budget.left_s())
        except Exception:  # the caller has an error of his own
            pass
        finally:
            call.cancel()

    @asynccontextmanager
    async def _inputs(self, request: Request, budget: Budget) -> AsyncIterator[list[InferInput]]:
        """See AlpamayoClient._inputs."""
        if self._shared is None or FRAMES not in request.inputs:
            yield infer_inputs(request)
            return
        with self._shared.holding(request.inputs[FRAMES]) as region:
            with registering(self.url, request.timeout_s or CONTROL_CALL_S):
                await region.register(self._triton, budget.control_s())
            yield infer_inputs(request, region.name)

    async def _forget(self, wait_s: float) -> None:
        """See AlpamayoClient._forget."""
        if self._shared is None:
            return
        end, regions = time.monotonic() + wait_s, self._shared.take_freed()
        while regions := [it for it in regions if not await self._is_forgotten(it)]:
            if time.monotonic() >= end:
                break
            await asyncio.sleep(SETTLE_POLL_S)
        self._shared.freed += regions

    async def _is_forgotten(self, region: Region) -> bool:
        try:
            await region.unregister(self._triton, CANCEL_S)
        except InferenceServerException as error:
            return not may_soon_be_unregistered(error)
        return True

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """See AlpamayoClient.wait_until_ready."""
        patience = Patience(self.url, timeout_s)
        self._check_open()
        while reason := await self._why_not_ready(patience.probe_s):
            await asyncio.sleep(patience.pause_s(reason))

    async def _why_not_ready(self, timeout_s: float) -> str | None:
        try:
            config = (await self._triton.get_model_config(ENSEMBLE, client_timeout=timeout_s)).config
            models = [ENSEMBLE, *stage_names(config)]
            waiting = [m for m in models if not await self._triton.is_model_ready(m, client_timeout=timeout_s)]
        except InferenceServerException as error:
            return str(error.message())
        except Exception:
            self._check_open()  # closed meanwhile
            raise
        return f"models not ready: {', '.join(waiting)}" if waiting else None

    async def metadata(self) -> dict[str, Any]:
        """See AlpamayoClient.metadata."""
        self._check_open()
        with triton_errors(self.url, CONTROL_CALL_S):
            server = await self._triton.get_server_metadata(client_timeout=CONTROL_CALL_S)
            return parse_metadata(server, await self._config())

    async def stage_times(self, since: Mapping[str, StageTime] | None = None) -> dict[str, StageTime]:
        """See AlpamayoClient.stage_times."""
        self._check_open()
        if since is None:
            return await self._stage_totals()
        end = time.monotonic() + SETTLE_S
        while not is_settled(times := times_since(await self._stage_totals(), since)) and time.monotonic() < end:
            await asyncio.sleep(SETTLE_POLL_S)
        return times

    async def _stage_totals(self) -> dict[str, StageTime]:
        with triton_errors(self.url, CONTROL_CALL_S):
            statistics = await self._triton.get_inference_statistics(client_timeout=CONTROL_CALL_S)
            return parse_stage_times(statistics, stage_names(await self._config()))

    async def _config(self) -> Any:
        return (await self._triton.get_model_config(ENSEMBLE, client_timeout=CONTROL_CALL_S)).config


def _kept(tasks: set[asyncio.Task[Outcome]], work: Coroutine[Any, Any, Outcome]) -> asyncio.Task[Outcome]:
    """A task that does it, in `tasks` while it does."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def _forget_error(call: asyncio.Task[InferResult]) -> None:
    """Nobody waits for it: asyncio need not say that nobody has looked."""
    if not call.cancelled():
        call.exception()
