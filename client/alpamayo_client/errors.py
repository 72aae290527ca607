"""What can go wrong, as few exceptions as a caller can act on differently."""

from collections.abc import Iterator
from contextlib import contextmanager

from tritonclient.utils import InferenceServerException

FULL, EXPIRED = "Exceeds maximum queue size", "timeout expired"
"""Triton's words: there is no place in the queue; the wait in it was longer than the call's limit or the server's."""


class AlpamayoError(Exception):
    """Every error of this package."""


class InvalidRequestError(AlpamayoError, ValueError):
    """Asking again will not help: the message says which input, what came and what was wanted."""


class UnavailableError(AlpamayoError):
    """No server there, one that is not ready, or one whose queue is full: asking again later may help."""


class TimedOutError(AlpamayoError):
    """The caller's `timeout_s` was spent before the answer came."""


class NoSceneError(AlpamayoError):
    """A SceneBuffer holds too little for a scene: asking again once more is pushed may help."""


class NoPlanError(AlpamayoError):
    """A PlanningLoop has no trajectory to follow at that time: none yet, too old, or it ends before."""


class ServerError(AlpamayoError):
    """The server failed; the message carries its words."""


@contextmanager
def triton_errors(url: str, timeout_s: float | None = None) -> Iterator[None]:
    """Raise what Triton's client raises in the block as one of the exceptions above."""
    try:
        yield
    except InferenceServerException as error:
        raise from_triton(error, url, timeout_s) from error


def from_triton(error: InferenceServerException, url: str, timeout_s: float | None) -> AlpamayoError:
    """The exception for a gRPC status; `timeout_s` is the budget that the failed call had."""
    status = str(error.status()).removeprefix("StatusCode.")
    words = error.message() or status
    if status == "INVALID_ARGUMENT":
        return InvalidRequestError(words)
    if status == "UNAVAILABLE" and "restricted" in words:
        return InvalidRequestError(
            f"{url} wants a header that was not sent, or with another value (headers=, --header): {words}"
        )
    if status == "UNAVAILABLE" and timeout_s is not None and EXPIRED in words:
        return TimedOutError(f"{url}: the request waited too long at the server (timeout_s={timeout_s}): {words}")
    if status == "UNAVAILABLE":
        hint = " (is it the gRPC port, and does the server want TLS?)" if "Socket closed" in words else ""
        return UnavailableError(f"{url} is unavailable: {words}{hint}")
    # The server notices the same deadline by itself, and then cancels.
    if status == "DEADLINE_EXCEEDED" or (status == "CANCELLED" and timeout_s is not None):
        return TimedOutError(f"{url} gave no answer within {timeout_s} s: {words}")
    return ServerError(f"{url} failed with {status}: {words}")
