"""From a caller's arguments to what goes over the wire: plain functions, the same for both clients."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tritonclient.grpc import InferInput, InferResult
from tritonclient.utils import np_to_triton_dtype

from .checks import (
    WAYPOINTS,
    EncodedFrames,
    check_float,
    check_frames,
    check_history,
    check_int,
    check_priority,
    check_reasoning,
    check_timeout,
    float_array,
)
from .errors import InvalidRequestError

PARAMETERS: Final[Mapping[str, type[int] | type[float]]] = {
    "num_traj_samples": int,
    "num_traj_sets": int,
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "max_generation_length": int,
    "inference_steps": int,
    "seed": int,
}
"""Triton request parameters; `deadline_ms` comes from `timeout_s`."""

FRAMES = "image_frames"
MAX_MESSAGE_BYTES = 2**31 - 1  # gRPC's, in Triton and its client
MESSAGE_OVERHEAD_BYTES = 2**16  # names, shapes and parameters


@dataclass(frozen=True, eq=False)
class Request:
    """One call of the ensemble: tensors by input name, Triton request parameters, seconds until it is given up,
    Triton's priority (0: the server's default), and an id that no other call has.
    """

    inputs: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, int | float]
    timeout_s: float | None
    priority: int = 0
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def queue_timeout_us(self) -> int | None:
        """Triton's `timeout`: who has given up by the time that a model is free is not worked on."""
        return None if self.timeout_s is None else math.ceil(self.timeout_s * 1e6)


@dataclass(frozen=True, eq=False)
class Options:
    """What is asked for, whatever the scene."""

    inputs: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, int | float]
    priority: int


def check_options(
    noise: ArrayLike | None = None,
    reasoning: Sequence[str] | None = None,
    priority: int | None = None,
    **parameters: int | float | None,
) -> Options:
    """`parameters`: by their names in `predict`; one that is None is left to the server. Raises InvalidRequestError."""
    if unknown := parameters.keys() - PARAMETERS:
        raise InvalidRequestError(
            f"got {', '.join(sorted(unknown))}, which `predict` does not know, wanted some of {', '.join(PARAMETERS)}, "
            "noise, reasoning, priority"
        )
    given = {name: _check_parameter(name, value) for name, value in parameters.items() if value is not None}
    inputs: dict[str, NDArray[Any]] = {}
    samples = int(given.get("num_traj_samples", 1))
    if reasoning is not None:
        inputs["reasoning"] = check_reasoning(reasoning)
        samples = int(given.get("num_traj_samples", len(reasoning)))
        if samples < len(reasoning):
            raise InvalidRequestError(
                f"reasoning: got {len(reasoning)} thoughts and num_traj_samples={samples}, wanted at least as many "
                "samples as thoughts, or no num_traj_samples"
            )
    if noise is not None:
        trajectories = int(given.get("num_traj_sets", 1)) * samples
        inputs["noise"] = float_array("noise", noise, (trajectories, WAYPOINTS, 2))
    return Options(inputs, given, 0 if priority is None else check_priority(priority))


def build_request(
    image_frames: ArrayLike | EncodedFrames,
    ego_history_xyz: ArrayLike,
    ego_history_rot: ArrayLike,
    parameters: Mapping[str, int | float | None],
    noise: ArrayLike | None = None,
    reasoning: Sequence[str] | None = None,
    timeout_s: float | None = None,
    priority: int | None = None,
    gpu: bool = False,
) -> Request:
    """Checked tensors and parameters; a parameter that is None is left to the server. `gpu`: frames may lie there.

    Raises InvalidRequestError.
    """
    options = check_options(noise, reasoning, priority, **parameters)
    if timeout_s is not None:
        timeout_s = check_timeout(timeout_s)
    frames = check_frames(image_frames, gpu)
    xyz, rot = check_history(ego_history_xyz, ego_history_rot)
    inputs: dict[str, NDArray[Any]] = {
        "encoded_frames" if frames.dtype == np.object_ else FRAMES: frames,
        "ego_history_xyz": xyz,
        "ego_history_rot": rot,
        **options.inputs,
    }
    _check_size(inputs)
    deadline = {} if timeout_s is None else {"deadline_ms": math.ceil(timeout_s * 1000)}
    return Request(inputs, {**options.parameters, **deadline}, timeout_s, options.priority)


def infer_inputs(request: Request, region: str | None = None) -> list[InferInput]:
    """The request's tensors as Triton's client takes them; `region`: name of the shared memory that has its frames."""
    tensors = []
    for name, array in request.inputs.items():
        if region is not None and name == FRAMES:
            shared = InferInput(name, list(array.shape), "UINT8")
            tensors.append(shared.set_shared_memory(region, array.nbytes))
        else:
            tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensors.append(tensor.set_data_from_numpy(array))
    return tensors


def cancel_input(request: Request) -> list[InferInput]:
    """The tensor that tells the server's model CANCEL that nobody waits for `request` any more."""
    text = np.array([request.id.encode()], dtype=np.object_)
    return [InferInput("request_id", [1], "BYTES").set_data_from_numpy(text)]


def is_noted(result: InferResult) -> bool:
    """Whether the model CANCEL could make it known to the others."""
    noted = result.as_numpy("noted")
    return noted is not None and bool(noted[0])


def _check_parameter(name: str, value: object) -> int | float:
    return check_int(name, value) if PARAMETERS[name] is int else check_float(name, value)


def _check_size(inputs: Mapping[str, NDArray[Any]]) -> None:
    size = MESSAGE_OVERHEAD_BYTES + sum(_wire_bytes(array) for array in inputs.values())
    if size > MAX_MESSAGE_BYTES:
        raise InvalidRequestError(
            f"the request is {size / 2**30:.2f} GiB, wanted less than the 2 GiB of a gRPC message: "
            "send fewer or smaller images, or encode them as JPEG or PNG"
        )


def _wire_bytes(array: NDArray[Any]) -> int:
    if array.dtype == np.object_:
        return sum(4 + len(text) for text in array.flat)  # each with its length in front
    return array.nbytes
