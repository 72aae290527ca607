"""Asks for many scenes, a few at a time."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..aio import AsyncAlpamayoClient
from ..checks import check_frames
from ..errors import AlpamayoError, UnavailableError
from ..extras import extra
from ..robot.resize import resize_for_model
from ..scene import Scene
from ..together import together
from .asking import Asker, Asking, ParametersRefusedError
from .journal import Journal
from .rows import answered_row, failed_row
from .source import SceneKey, Source

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError(f"evaluating needs more packages ({error}): {extra('evaluate')}") from error


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
    UnavailableError once the server has been gone for `wait_s`; what was answered until then is in the journal. Raises
    ParametersRefusedError as soon as the server refuses the parameters, which are the same for every scene.
    """
    asker = Asker(client, asking)
    # A log file gets no bar.
    with tqdm(total=len(keys), desc="scenes", unit="scene", disable=None) as bar:
        remaining = iter(keys)

        async def work() -> None:
            for key in remaining:
                journal.append(await answer(asker, source, key, metadata))
                bar.update()

        await together(work() for _ in range(concurrency))


async def answer(asker: Asker, source: Source, key: SceneKey, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one scene. Raises UnavailableError, ParametersRefusedError."""
    try:
        # Before the scene: if it changes in between, it is another one the next time.
        fingerprint = await asyncio.to_thread(source.fingerprint, key)
        scene = await asyncio.to_thread(_load, source, key, metadata)
        start = time.monotonic()
        prediction = await asker.ask(scene)
        return answered_row(key, fingerprint, scene, prediction, time.monotonic() - start)
    except (UnavailableError, ParametersRefusedError):
        raise
    except (AlpamayoError, OSError) as error:
        return failed_row(key, error)


def _load(source: Source, key: SceneKey, metadata: Mapping[str, Any]) -> Scene:
    scene = source.load(key)
    frames = check_frames(scene.image_frames)
    if frames.dtype != np.uint8:  # files
        return scene
    return replace(scene, image_frames=resize_for_model(frames, metadata))
