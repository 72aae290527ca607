"""From Triton's Python backend to plain functions: every request gets an answer or an error, and nothing raises.

A copy goes beside every `model.py`.
"""

import json
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from cancellations import Cancellations
from contract import Cancelled, HandOverFailed, InvalidRequest
from own_server import OwnServer, expire
from queue_waker import QueueWaker
from server_stopping import ServerStopping
from stage_metrics import StageMetrics, counters

Tensors = dict[str, Any]

KNOCKS = ("1", "3", "2")
"""Priorities of config.pbtxt in which a knock is tried: the first is answered as soon as the queue is awake, and keeps
nobody's place for long; the last is what most requests have.
"""
MAX_MESSAGE = 600  # characters; up to 12 bytes each in gRPC's trailer, of which clients take 8 KiB


def respond(requests: Sequence[Any], answer: Callable[[Any], Tensors], metrics: StageMetrics) -> list[Any]:
    """One response a request. `answer` takes a request and returns its output tensors by name."""
    with metrics.working_on(len(requests)):
        return [_respond_to_one(request, answer, metrics) for request in requests]


def _respond_to_one(request: Any, answer: Callable[[Any], Tensors], metrics: StageMetrics) -> Any:
    # An exception out of execute() would fail the whole batch and may leak the requests' shared memory.
    try:
        wanted = set(request.requested_output_names())
        outputs = answer(request)
        response = pb_utils.InferenceResponse([_to_triton(name, x) for name, x in outputs.items() if name in wanted])
        metrics.answered()
        return response
    except Exception as error:
        metrics.failed(error)
        return pb_utils.InferenceResponse(error=_triton_error(error))


def _triton_error(error: Exception) -> Any:
    """Also logged, where nobody but the caller would know otherwise."""
    message, code = str(error), pb_utils.TritonError.INTERNAL
    if isinstance(error, InvalidRequest):
        code = pb_utils.TritonError.INVALID_ARG
    elif isinstance(error, Cancelled):
        code = pb_utils.TritonError.CANCELLED
        pb_utils.Logger.log_info(f"stopped working: {error}")  # the caller may be gone
    elif isinstance(error, ServerStopping):
        code = pb_utils.TritonError.UNAVAILABLE
    elif isinstance(error, HandOverFailed):
        pb_utils.Logger.log_error(message)
    else:
        message = f"{type(error).__name__}: {error}"
        pb_utils.Logger.log_error("".join(traceback.format_exception(error)))
    return pb_utils.TritonError(message[:MAX_MESSAGE], code)


def _to_triton(name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return pb_utils.Tensor(name, value)
    return pb_utils.Tensor.from_dlpack(name, value.__dlpack__())  # a torch tensor, where it lies


def queue_waker(args: dict[str, str]) -> QueueWaker:
    """It wakes nothing without a launcher, or where `config.pbtxt` lets no request expire when it says so itself."""
    model, config = args["model_name"], json.loads(args["model_config"])
    knocks = counters(
        "alpamayo_queue_knocks_total",
        "Requests that a model sent itself to wake its queue; Triton counts each as REJECTED",
        model,
        "priority",
        KNOCKS,
    )

    def count(priority: str) -> None:
        knocks[priority].increment(1)  # `knocks` is held: without any the metrics must be there, for the alert

    server = OwnServer.from_environment()
    if server is None or not expire(config):
        return QueueWaker(lambda: 0, lambda: None, count)
    return QueueWaker(
        lambda: server.requests_waiting(model),
        lambda: next((it for it in KNOCKS if server.knock(model, config["input"], int(it))), None),
        count,
    )


def given_up(request: Any, cancellations: Cancellations) -> Callable[[], bool]:
    """Tells whether the caller has given up: by the id that the call has, or as Triton says of one without an
    ensemble.
    """
    try:
        request_id = request.request_id()
    except UnicodeDecodeError:  # over HTTP Triton lets bytes through that are no UTF-8
        request_id = ""
    return lambda: cancellations.holds(request_id) or request.is_cancelled()


def parameters_json(request: Any) -> str:
    """The request's parameters. Over HTTP Triton lets bytes through that are no UTF-8."""
    try:
        return request.parameters()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"request parameters must be UTF-8: {error}") from None


def numpy_input(request: Any, name: str) -> npt.NDArray[Any]:
    """A required input. Triton has checked its type and the dimensions that are fixed."""
    return _required(request, name).as_numpy()


def optional_numpy_input(request: Any, name: str) -> npt.NDArray[Any] | None:
    """Of a model that takes its inputs where they lie, one that it wants on the host all the same."""
    tensor = optional_input(request, name)
    return tensor if tensor is None or isinstance(tensor, np.ndarray) else tensor.cpu().numpy()


def optional_input(request: Any, name: str) -> Any:
    """An input where it lies: numpy on the host, a torch tensor on a GPU, as CUDA shared memory brings it."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None or tensor.is_cpu():
        return None if tensor is None else tensor.as_numpy()
    from torch.utils.dlpack import from_dlpack  # not every model that this is copied to has torch

    return from_dlpack(tensor.to_dlpack())


def dlpack_input(request: Any, name: str) -> Any:
    """A required input where it lies, on the host or on a GPU, as a DLPack capsule: no copy."""
    return _required(request, name).to_dlpack()


def _required(request: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:  # with optional inputs beside it, Triton counts inputs but does not look at their names
        raise InvalidRequest(f"input {name} is missing; it is required, see the model's config.pbtxt")
    return tensor


def version_folder(args: dict[str, str]) -> Path:
    """The folder of `model.py` and of everything that the export put beside it."""
    return Path(args["model_repository"]) / args["model_version"]
