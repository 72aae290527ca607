"""What the three models agree on: request parameters, errors, deadlines.

`alpamayo-export` puts a copy of this module beside every `model.py`, so that each model folder stands on its own.
"""

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

WAYPOINTS = 64
HISTORY_POSES = 16
MIN_IMAGE_SIDE, MAX_IMAGE_SIDE, MAX_IMAGE_ASPECT = 32, 8192, 200  # pixels, pixels, long side : short side
MAX_INFERENCE_STEPS = 100
MAX_NOISE = 100
MAX_SHOWN = 100  # characters of what came, in a message
MAX_SEED = 2**53 - 1  # the largest integer that JSON, and so every client, carries exactly
MAX_REQUEST_NS = 3600 * 10**9
NO_DEADLINE = int(np.iinfo(np.int64).max)

PROMPT_OWNER = -1  # a token that every thought and trajectory may attend to
NO_OWNER = -2  # a row of the KV cache that nobody attends to
KV_BUCKET = 256  # the reasoner's KV caches have a multiple of so many rows, so that they come in few sizes


SUBJECTS = (
    # inputs of the three models
    *("image_frames", "encoded_frames", "ego_history_xyz", "ego_history_rot", "noise", "reasoning"),
    *("kv_cache", "kv_checksum", "kv_owner", "action_owner", "action_position", "normalized_action", "arrived_ns"),
    # request parameters
    *("num_traj_samples", "num_traj_sets", "temperature", "top_p", "top_k", "max_generation_length"),
    *("inference_steps", "seed", "deadline_ms"),
    "request_id",  # of the call that alpamayo_cancel is to stop
)
"""What a request can be refused for, in metrics."""


class InvalidRequest(ValueError):
    """The request breaks the contract. The message says what came, what was wanted and what to do."""

    @property
    def subject(self) -> str:
        """The first of SUBJECTS in the message, which names what it refuses before anything else; "other": none."""
        found = re.search(rf"\b({'|'.join(SUBJECTS)})\b", str(self))
        return found[1] if found else "other"


class UnknownParameter(InvalidRequest):
    """A request parameter of a name that there is not."""

    subject = "unknown_parameter"


class HandOverFailed(Exception):
    """What one stage sent is not what the next one got: the server's fault, not the request's."""

    def __init__(self, reason: str, message: str) -> None:
        """`reason`: a word, for metrics."""
        super().__init__(message)
        self.reason = reason


class Cancelled(Exception):
    """The caller gave up, or the deadline passed, before the answer was ready."""


@dataclass(frozen=True)
class Parameters:
    """Request parameters of the ensemble; every model receives all of them. `None`: not given."""

    num_traj_samples: int | None = None
    num_traj_sets: int = 1
    temperature: float = 0.6
    top_p: float = 0.98
    top_k: int = 0
    max_generation_length: int | None = None
    inference_steps: int = 10
    seed: int | None = None
    deadline_ms: float | None = None


_INTEGERS = ("num_traj_samples", "num_traj_sets", "top_k", "max_generation_length", "inference_steps", "seed")
_LOWEST = {
    "num_traj_samples": 1,
    "num_traj_sets": 1,
    "temperature": 0,
    "top_p": 0,
    "top_k": 0,
    "max_generation_length": 1,
    "inference_steps": 1,
    "seed": 0,
    "deadline_ms": 0,
}
_HIGHEST = {"top_p": 1, "inference_steps": MAX_INFERENCE_STEPS, "seed": MAX_SEED}


def parse_parameters(parameters_json: str) -> Parameters:
    """Checks names, types and the ranges that hold for every repository.

    Raises:
        InvalidRequest: an unknown name, a wrong type, or a value out of range.
    """
    values = json.loads(parameters_json or "{}")
    known = [field.name for field in fields(Parameters)]
    for name, value in values.items():
        if name not in known:
            raise UnknownParameter(f"unknown request parameter {shown(name)}; known are {', '.join(known)}")
        _check_number(name, value)
    return Parameters(**values)


def _check_number(name: str, value: Any) -> None:
    integer = name in _INTEGERS
    wanted = "an integer" if integer else "a number"
    if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
        raise InvalidRequest(f"request parameter {name} must be {wanted}, got {shown(value)} ({type(value).__name__})")
    low, high = _LOWEST[name], _HIGHEST.get(name)
    if not low <= value <= (math.inf if high is None else high) or value == math.inf:
        allowed = f"{low} .. {high}" if high is not None else f"at least {low}"
        raise InvalidRequest(f"request parameter {name} must be {wanted}, {allowed}; got {value!r}")


def shown(value: object) -> str:
    """`repr(value)` for a message, cut: a request may hold megabytes of it."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ... ({len(text)} characters)"


def check_shape(name: str, array: npt.NDArray[Any], wanted: tuple[int | None, ...]) -> None:
    """Raises InvalidRequest unless `array` has shape `wanted` (None: any positive size)."""
    fits = array.ndim == len(wanted) and all(
        size > 0 and size == (want or size) for size, want in zip(array.shape, wanted, strict=True)
    )
    if not fits:
        free = ", n at least 1" if None in wanted else ""
        shape = str(tuple("n" if want is None else want for want in wanted)).replace("'", "")
        raise InvalidRequest(f"{name} must have shape {shape}{free}; got {tuple(array.shape)}")


def check_finite(name: str, array: npt.NDArray[np.floating[Any]]) -> None:
    """Raises InvalidRequest, naming the first offending element, unless every element is finite."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise InvalidRequest(f"{name} must be finite; got {array[index]} at {list(index)}{more}")


def check_noise(noise: npt.NDArray[np.float32], trajectories: int) -> None:
    """Raises InvalidRequest unless a denoiser can start from `noise`: (trajectories, 64, 2), about standard normal."""
    check_shape("noise", noise, (trajectories, WAYPOINTS, 2))
    check_finite("noise", noise)
    largest = float(np.abs(noise).max())
    if largest > MAX_NOISE:
        raise InvalidRequest(f"noise must lie within +-{MAX_NOISE}, standard normal as it should be; got {largest:g}")


def arrival(arrived_ns: npt.NDArray[np.int64] | None, now_ns: int) -> int | None:
    """When the reasoner began, on CLOCK_MONOTONIC; None where a stage is called on its own.

    Raises:
        InvalidRequest: it cannot have been then. A time that nobody measured would spoil a metric for good.
    """
    if arrived_ns is None:
        return None
    began_ns = int(arrived_ns[0])
    if not now_ns - MAX_REQUEST_NS < began_ns <= now_ns:
        raise InvalidRequest(
            f"arrived_ns must be a moment of the last hour on this machine's CLOCK_MONOTONIC, now {now_ns}; got "
            f"{began_ns}. Leave it out"
        )
    return began_ns


def deadline_after(deadline_ms: float | None, arrived_ns: int) -> int:
    """The moment `deadline_ms` after `arrived_ns` on CLOCK_MONOTONIC, in ns: one clock for a machine's processes."""
    if deadline_ms is None:
        return NO_DEADLINE
    return arrived_ns + int(min(deadline_ms, 1e9) * 1e6)


def stop_check(is_cancelled: Callable[[], bool], deadline_ns: int) -> Callable[[], None]:
    """A function for long work to call between its steps; it raises Cancelled once nobody waits any more."""

    def raise_if_stopped() -> None:
        if time.monotonic_ns() >= deadline_ns:
            raise Cancelled("the request's deadline_ms is spent")
        if is_cancelled():
            raise Cancelled("the request was cancelled by its caller")

    return raise_if_stopped
