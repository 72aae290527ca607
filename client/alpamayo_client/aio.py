"""The client for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from .base import BaseClient
from .connection import CANCEL_S, CONTROL_CALL_S, FORGET_S, SETTLE_POLL_S, SETTLE_S, Patience, Tls, channel
from .errors import triton_errors
from .prediction import Prediction, parse_response
from .request import FRAMES, Request, cancel_input, infer_inputs
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
from .shared_memory import Kind, Region, may_soon_be_unregistered, registering


class AsyncAlpamayoClient(BaseClient[Coroutine[Any, Any, Prediction]]):
    """AlpamayoClient for asyncio: every method is awaited. `await close()`, or use it in an `async with` block.

    The server stops working, within a token or an Euler step, on a `predict` whose task is cancelled.
    """

    def __init__(self, url: str, tls: Tls | None = None, shared_memory: Kind | None = None) -> None:
        """See AlpamayoClient."""
        super().__init__(url, shared_memory)
        self._triton = InferenceServerClient(self.url, **channel(tls))
        self._cancelling: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "AsyncAlpamayoClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connection back, and shared memory."""
        await asyncio.gather(*self._cancelling)
        if self._shared is not None:
            self._shared.close()
            await self._forget(self._shared.retired())
        await self._triton.close()

    async def _infer(self, request: Request, scene: Scene | None) -> Prediction:
        try:
            async with self._inputs(request) as inputs:
                with triton_errors(self.url, request.timeout_s):
                    result = await self._triton.infer(
                        ENSEMBLE,
                        inputs,
                        request_id=request.id,
                        parameters=dict(request.parameters),
                        client_timeout=request.timeout_s,
                        priority=request.priority,
                        timeout=request.queue_timeout_us,
                    )
        except asyncio.CancelledError:  # nobody waits: neither does this
            task = asyncio.create_task(self._cancel(request))
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)
            raise
        return parse_response(result, scene)

    @asynccontextmanager
    async def _inputs(self, request: Request) -> AsyncIterator[list[InferInput]]:
        """See AlpamayoClient._inputs."""
        if self._shared is None or FRAMES not in request.inputs:
            yield infer_inputs(request)
            return
        with self._shared.holding(request.inputs[FRAMES]) as region:
            await self._forget(self._shared.retired())
            timeout_s = request.timeout_s or CONTROL_CALL_S
            with registering(self.url, timeout_s):
                await region.register(self._triton, timeout_s)
            yield infer_inputs(request, region.name)

    async def _forget(self, regions: list[Region]) -> None:
        end = time.monotonic() + FORGET_S
        for region in regions:
            while not await self._is_forgotten(region) and time.monotonic() < end:
                await asyncio.sleep(SETTLE_POLL_S)

    async def _is_forgotten(self, region: Region) -> bool:
        try:
            await region.unregister(self._triton, CANCEL_S)
        except InferenceServerException as error:
            return not may_soon_be_unregistered(error)
        return True

    async def _cancel(self, request: Request) -> None:
        with suppress(InferenceServerException):
            await self._triton.infer(CANCEL, cancel_input(request), client_timeout=CANCEL_S, priority=1)

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """See AlpamayoClient.wait_until_ready."""
        patience = Patience(self.url, timeout_s)
        while reason := await self._why_not_ready(patience.probe_s):
            await asyncio.sleep(patience.pause_s(reason))

    async def _why_not_ready(self, timeout_s: float) -> str | None:
        try:
            config = (await self._triton.get_model_config(ENSEMBLE, client_timeout=timeout_s)).config
            models = [ENSEMBLE, *stage_names(config)]
            waiting = [m for m in models if not await self._triton.is_model_ready(m, client_timeout=timeout_s)]
        except InferenceServerException as error:
            return str(error.message())
        return f"models not ready: {', '.join(waiting)}" if waiting else None

    async def metadata(self) -> dict[str, Any]:
        """See AlpamayoClient.metadata."""
        with triton_errors(self.url, CONTROL_CALL_S):
            server = await self._triton.get_server_metadata(client_timeout=CONTROL_CALL_S)
            return parse_metadata(server, await self._config())

    async def stage_times(self, since: Mapping[str, StageTime] | None = None) -> dict[str, StageTime]:
        """See AlpamayoClient.stage_times."""
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
