"""The requests of a soak: ten kinds in turn, the right ones, wrong ones, late ones and ones that nobody waits for."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from alpamayo_client import AlpamayoClient, AsyncAlpamayoClient, InvalidRequestError, Prediction, TimedOutError
from alpamayo_demo.errors import DemoError
from scenes import Scene, as_jpeg

LITTLE_TIME_S = 0.005
GIVE_UP_S = 0.1  # by then a stage works on it, which is some way from its end
SHORT: dict[str, Any] = {"max_generation_length": 16, "inference_steps": 4}
LONG: dict[str, Any] = SHORT | {"inference_steps": 100}
SEED = 1


def ask(client: AlpamayoClient, scene: Scene, requests: int) -> Iterator[int]:
    """Asks one after the other; yields how many have been asked.

    Raises DemoError for an answer that is not the one that the same request got at first, and for one that should not
    have been answered.
    """
    first: dict[Callable[[], Prediction | None], Prediction] = {}
    for n, kind in enumerate(itertools.islice(itertools.cycle(kinds(client, scene)), requests), 1):
        answer = kind()
        if answer is not None and not same(answer, first.setdefault(kind, answer)):
            raise DemoError(f"request {n} got another answer than the same request before")
        yield n


def kinds(client: AlpamayoClient, scene: Scene) -> list[Callable[[], Prediction | None]]:
    """Of ten, seven are to be answered: one of them with six trajectories, two are of JPEG files."""
    arguments = scene.frames, scene.ego_history_xyz, scene.ego_history_rot
    usual = partial(client.predict, *arguments, seed=SEED, **SHORT)
    encoded = partial(client.predict, as_jpeg(scene.frames), *arguments[1:], seed=SEED, **SHORT)
    many = partial(usual, num_traj_samples=6)

    def refused() -> None:
        unanswered(partial(usual, top_p=2.0), InvalidRequestError)

    def out_of_time() -> None:
        unanswered(partial(usual, timeout_s=LITTLE_TIME_S), TimedOutError)

    def cancelled() -> None:
        unanswered(lambda: asyncio.run(give_up(client.url, *arguments)), asyncio.TimeoutError)

    return [usual, refused, encoded, usual, out_of_time, many, usual, cancelled, encoded, usual]


async def give_up(url: str, *arguments: Any) -> None:
    """Cancels a long request, on a connection of its own. Raises asyncio.TimeoutError: it was not answered before."""
    async with AsyncAlpamayoClient(url) as client:
        await asyncio.wait_for(client.predict(*arguments, seed=SEED, **LONG), GIVE_UP_S)


def unanswered(request: Callable[[], Any], wanted: type[Exception]) -> None:
    """Raises DemoError unless `request` raises what is wanted."""
    try:
        request()
    except wanted:
        return
    raise DemoError(f"a request was answered that should have ended with {wanted.__name__}")


def same(a: Prediction, b: Prediction) -> bool:
    """Bit for bit."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("pred_xyz", "pred_rot", "cot", "action"))
