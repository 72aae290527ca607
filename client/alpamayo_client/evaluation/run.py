"""Asks for many scenes, a few at a time."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..aio import AsyncAlpamayoClient
from ..checks import check_frames
from ..connection import Patience
from ..errors import AlpamayoError, UnavailableError
from ..prediction import Prediction
from ..robot.resize import resize_for_model
from ..scene import Scene
from ..together import together
from .journal import Journal
from .rows import answered_row, failed_row
from .source import SceneKey, Source

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError(f"evaluating needs more packages ({error}): pip install 'alpamayo-client[evaluate]'") from error


@dataclass(frozen=True)
class Asking:
    """How every scene is asked for. `wait_s`: how long a server that does not answer is waited for."""

    parameters: Mapping[str, Any]
    """Arguments of `predict`: num_traj_samples, seed ..."""
    timeout_s: float | None = None
    priority: int | None = None
    wait_s: float = 60.0


async def answer_all(
    client: AsyncAlpamayoClient,
    source: Source,
    keys: Sequence[SceneKey],
    journal: Journal,
    asking: Asking,
    concurrency: int,
    metadata: Mapping[str, Any],
) -> None:
    """Writes a row per key to `journal`, as they come; `concurrency` scenes are held at a time, their pixels resized to
    what the model of this `metadata` sees.

    A scene that cannot be read, or that the server refuses or fails on, is a row with its error. Raises
    UnavailableError once the server has been gone for `wait_s`; what was answered until then is in the journal.
    """
    # A log file gets no bar.
    with tqdm(total=len(keys), desc="scenes", unit="scene", disable=None) as bar:
        remaining = iter(keys)

        async def work() -> None:
            for key in remaining:
                journal.append(await answer(client, source, key, asking, metadata))
                bar.update()

        await together(work() for _ in range(concurrency))


async def answer(
    client: AsyncAlpamayoClient, source: Source, key: SceneKey, asking: Asking, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of one scene. Raises UnavailableError."""
    try:
        scene = await asyncio.to_thread(_load, source, key, metadata)
        start = time.monotonic()
        prediction = await _ask_patiently(client, scene, asking)
        return answered_row(key, scene, prediction, time.monotonic() - start)
    except UnavailableError:
        raise
    except (AlpamayoError, OSError) as error:
        return failed_row(key, error)


def _load(source: Source, key: SceneKey, metadata: Mapping[str, Any]) -> Scene:
    scene = source.load(key)
    frames = check_frames(scene.image_frames)
    if frames.dtype != np.uint8:  # files
        return scene
    return replace(scene, image_frames=resize_for_model(frames, metadata))


async def _ask_patiently(client: AsyncAlpamayoClient, scene: Scene, asking: Asking) -> Prediction:
    """A full queue, and a server that starts anew, are waited for."""
    patience: Patience | None = None
    while True:
        try:
            return await client.predict(
                scene, timeout_s=asking.timeout_s, priority=asking.priority, **asking.parameters
            )
        except UnavailableError as error:
            patience = patience or Patience(client.url, asking.wait_s)
            await asyncio.sleep(patience.pause_s(str(error)))
