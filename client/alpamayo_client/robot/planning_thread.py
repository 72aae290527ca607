"""The planning loop for programs without asyncio."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any

from ..aio import AsyncAlpamayoClient
from ..connection import Tls
from ..scene import Scene
from ..shared_memory import Kind
from .planning_loop import PlanningLoop


@contextmanager
def planning_thread(
    url: str,
    observe: Callable[[], Scene],
    *,
    tls: Tls | None = None,
    shared_memory: Kind | None = None,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[PlanningLoop]:
    """A PlanningLoop that runs in a thread of its own during the `with` block, which reads it.

    url, tls, shared_memory, headers: as for AsyncAlpamayoClient.
    observe: called in that thread; SceneBuffer is made for it.
    options: of PlanningLoop.

    Raises InvalidRequestError.
    """
    started: Future[tuple[PlanningLoop, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def plan() -> None:
        over = asyncio.Event()
        async with (
            AsyncAlpamayoClient(url, tls, shared_memory, headers) as client,
            PlanningLoop(client, observe, **options) as planning,
        ):
            started.set_result((planning, asyncio.get_running_loop(), over))
            await over.wait()

    def run() -> None:
        try:
            asyncio.run(plan())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = Thread(target=run, name="alpamayo-planning", daemon=True)
    thread.start()
    planning, loop, over = started.result()
    try:
        yield planning
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
