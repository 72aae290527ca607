"""How a scene is asked about: who is busy is waited for, who is gone is given up, wrong parameters end it all."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..aio import AsyncAlpamayoClient
from ..checks import check_priority, check_timeout
from ..connection import Patience
from ..errors import EXPIRED, FULL, AlpamayoError, InvalidRequestError, TimedOutError, UnavailableError
from ..prediction import Prediction
from ..scene import Scene

BUSY_PAUSE_S = 1.0  # each time, all the pixels are sent again


@dataclass(frozen=True)
class Asking:
    """How every scene is asked for. `wait_s`: how long a server that does not answer is waited for.

    Raises InvalidRequestError.
    """

    parameters: Mapping[str, Any]
    """Arguments of `predict`: num_traj_samples, seed ..."""
    timeout_s: float | None = None
    priority: int | None = None
    wait_s: float = 60.0

    def __post_init__(self) -> None:
        if self.timeout_s is not None:
            check_timeout(self.timeout_s)
        if self.priority is not None:
            check_priority(self.priority)


class ParametersRefusedError(InvalidRequestError):
    """The parameters, which are every scene's: no other scene needs to be tried."""


class Asker:
    """Asks about scene after scene, several at a time."""

    def __init__(self, client: AsyncAlpamayoClient, asking: Asking) -> None:
        self._client = client
        self._asking = asking
        self._gone: Patience | None = None  # since a first scene found no server, and none has had an answer

    async def ask(self, scene: Scene) -> Prediction:
        """Raises UnavailableError once nobody has been answered for `wait_s`, ParametersRefusedError, and what
        `predict` raises.
        """
        while True:
            try:
                return await self._ask_once(scene)
            except UnavailableError as error:
                pause_s = self._pause_s(str(error))
            await asyncio.sleep(pause_s)

    async def _ask_once(self, scene: Scene) -> Prediction:
        asking = self._asking
        try:
            prediction = await self._client.predict(
                scene, timeout_s=asking.timeout_s, priority=asking.priority, **asking.parameters
            )
        except UnavailableError:
            raise
        except TimedOutError as error:
            self._gone_pause_s(str(error))
            raise
        except AlpamayoError as error:
            self._gone = None
            if isinstance(error, InvalidRequestError) and _names_one(asking.parameters, str(error)):
                raise ParametersRefusedError(str(error)) from error
            raise
        self._gone = None
        return prediction

    def _pause_s(self, reason: str) -> float:
        """Seconds until the next try. Raises UnavailableError."""
        if FULL in reason or EXPIRED in reason:  # so says a server that is there
            self._gone = None
            return BUSY_PAUSE_S
        return self._gone_pause_s(reason)

    def _gone_pause_s(self, reason: str) -> float:
        """Likewise, of a server that does not answer, with or without a word. Raises UnavailableError."""
        self._gone = self._gone or Patience(self._client.url, self._asking.wait_s)
        return self._gone.pause_s(reason)


def _names_one(parameters: Mapping[str, Any], refusal: str) -> bool:
    """A refusal names what it is about."""
    return any(re.search(rf"\b{name}\b", refusal) for name in parameters)
