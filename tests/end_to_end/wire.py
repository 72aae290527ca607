"""Requests as any Triton client sends them: tensors by name, and no check before the server's own."""

import io
from collections.abc import Mapping
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from PIL import Image
from tritonclient.utils import np_to_triton_dtype

ANSWER_S = 120  # a server that hangs must not hang the tests

Tensors = dict[str, np.ndarray]


def tensors(inputs: Mapping[str, np.ndarray | None]) -> list[grpcclient.InferInput]:
    """Triton's inputs; None is left out."""
    return [
        grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        for name, array in inputs.items()
        if array is not None
    ]


def ask(
    triton: grpcclient.InferenceServerClient,
    inputs: Mapping[str, np.ndarray | None],
    parameters: Mapping[str, Any] | None = None,
    *,
    model: str = "alpamayo",
    request_id: str = "",
) -> Tensors:
    """One model's whole answer. Raises what tritonclient raises."""
    result = triton.infer(
        model, tensors(inputs), parameters=dict(parameters or {}), request_id=request_id, client_timeout=ANSWER_S
    )
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def send(
    triton: grpcclient.InferenceServerClient,
    model: str,
    inputs: Mapping[str, np.ndarray | None],
    parameters: Mapping[str, Any],
    **options: Any,
) -> tuple[Any, Queue]:
    """Sends without waiting. Returns tritonclient's call, and where (answer, error) will be."""
    answers: Queue = Queue()
    call = triton.async_infer(
        model, tensors(inputs), lambda result, error: answers.put((result, error)), parameters=parameters, **options
    )
    return call, answers


def assert_same(got: Tensors, wanted: Tensors) -> None:
    """Bit for bit."""
    assert got.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


def texts(*values: bytes) -> np.ndarray:
    """A tensor of BYTES (n,)."""
    return np.array(values, dtype=np.object_)


def files(*frames: bytes) -> np.ndarray:
    """Encoded frames of one camera, (1, n)."""
    return np.array([frames], dtype=np.object_)


def picture(frame: np.ndarray, format: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """A frame (3, height, width), or (height, width) of grey, as an image file."""
    image = Image.fromarray(np.moveaxis(frame, 0, -1) if frame.ndim == 3 else frame)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, format, **options)
    return file.getvalue()


def json_body(inputs: Mapping[str, np.ndarray], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same over HTTP, where numbers go as JSON."""
    return {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": np_to_triton_dtype(array.dtype),
                "data": array.ravel().tolist(),
            }
            for name, array in inputs.items()
        ],
        "parameters": parameters,
    }


def shared() -> list[str]:
    """Regions of clients that lie in /dev/shm."""
    return [path.name for path in Path("/dev/shm").glob("alpamayo_client_*")]


def registered(triton: grpcclient.InferenceServerClient) -> list[str]:
    """Regions of clients that the server knows."""
    return [name for name in triton.get_system_shared_memory_status(as_json=True).get("regions", {})]
