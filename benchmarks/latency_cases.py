"""What `latency.py` asks: two base cases, and others that differ from one of them in one thing each."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from alpamayo_client import AlpamayoClient
from alpamayo_client.connection import CHANNEL_ARGS
from alpamayo_client.errors import triton_errors
from alpamayo_client.prediction import Prediction, parse_response
from alpamayo_client.request import Request, build_request, infer_inputs
from alpamayo_client.server_info import ENSEMBLE
from alpamayo_demo.errors import DemoError
from scenes import Scene, as_jpeg
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

REASONER = "alpamayo_reasoner"
GPU = 0  # the one that an exported repository uses
Ask = Callable[[], Prediction]


@dataclass(frozen=True)
class Case:
    """A request: everything that cases differ in."""

    samples: int
    """K: thoughts, each with a trajectory for every set."""
    sets: int = 1
    tokens: int = 40
    """`max_generation_length`."""
    steps: int = 10
    """Euler steps."""
    frames: str = "raw"
    """How they come: raw, jpeg, cuda_shm."""

    @property
    def parameters(self) -> dict[str, int]:
        """Of the request. Greedy, so that all thoughts of a request are the same."""
        return {
            "num_traj_samples": self.samples,
            "num_traj_sets": self.sets,
            "max_generation_length": self.tokens,
            "inference_steps": self.steps,
            "top_k": 1,
            "seed": 0,
        }


def all_cases(tokens: int) -> dict[str, Case]:
    """Every case by its name. Those that do not vary it have `tokens` tokens."""
    k1, k6 = Case(1, tokens=tokens), Case(6, tokens=tokens)
    cases = {"k1": k1, "k6": k6, "k16": replace(k1, samples=16), "k32": replace(k1, samples=32)}
    cases["k1x32"] = replace(k1, sets=32)
    for name, base in (("k1", k1), ("k6", k6)):
        cases[f"{name}_tokens20"] = replace(base, tokens=20)
        cases[f"{name}_steps5"] = replace(base, steps=5)
        cases[f"{name}_jpeg"] = replace(base, frames="jpeg")
        cases[f"{name}_cuda_shm"] = replace(base, frames="cuda_shm")
    return cases


NAMES = tuple(all_cases(40))


def why_not(case: Case, limits: Mapping[str, int]) -> str | None:
    """Why this machine and a repository of these limits cannot be asked that, if so."""
    for what, value, limit in (
        ("trajectories", case.samples * case.sets, limits["max_trajectories"]),
        ("tokens a thought", case.tokens, limits["max_generation_length"]),
    ):
        if value > limit:
            return f"{value} {what}; the repository was exported for {limit} at most"
    if case.frames == "cuda_shm" and not torch.cuda.is_available():
        return "there is no GPU"
    return None


@contextmanager
def asking(client: AlpamayoClient, scene: Scene, case: Case) -> Iterator[Ask]:
    """A call that asks the ensemble, for the block. What a robot does before its frames are there is done already.

    Raises:
        DemoError: CUDA shared memory does not work here.
    """
    if case.frames == "cuda_shm":
        request = build_request(scene.frames, scene.ego_history_xyz, scene.ego_history_rot, case.parameters)
        with _frames_in_cuda_memory(client.url, request) as ask:
            yield ask
        return
    frames = as_jpeg(scene.frames) if case.frames == "jpeg" else scene.frames
    parameters: dict[str, Any] = case.parameters
    yield lambda: client.predict(frames, scene.ego_history_xyz, scene.ego_history_rot, **parameters)


def thoughts(url: str, scene: Scene, case: Case) -> dict[str, list[Any]]:
    """What the case's thoughts are, of the reasoner alone: an answer of the ensemble does not say how long.

    Returns:
        `tokens` generated, what ends the thought included, and whether it is `complete`: K of each.
    """
    frames = as_jpeg(scene.frames) if case.frames == "jpeg" else scene.frames
    request = build_request(frames, scene.ego_history_xyz, scene.ego_history_rot, case.parameters)
    outputs = [InferRequestedOutput(name) for name in ("kv_owner", "reasoning_complete")]
    with InferenceServerClient(url, channel_args=CHANNEL_ARGS) as triton, triton_errors(url, None):
        answer = triton.infer(REASONER, infer_inputs(request), outputs=outputs, parameters=dict(request.parameters))
    complete = answer.as_numpy("reasoning_complete")[0, 0].tolist()
    owner = answer.as_numpy("kv_owner")
    # The last token of a thought that was cut off has no KV entry.
    tokens = [int((owner == i).sum()) + (not complete[i]) for i in range(case.samples)]
    return {"tokens": tokens, "complete": complete}


@contextmanager
def _frames_in_cuda_memory(url: str, request: Request) -> Iterator[Ask]:
    """The frames lie on the GPU before anything is asked, as those of a camera that writes there."""
    try:
        from tritonclient.utils import cuda_shared_memory as cuda
    except (ImportError, RuntimeError) as error:  # it wants cuda-bindings, which torch's CUDA builds bring
        raise DemoError(str(error)) from None
    rest = {name: array for name, array in request.inputs.items() if name != "image_frames"}
    frames = request.inputs["image_frames"]
    name = f"frames of {request.parameters['num_traj_samples']}"
    with _freed(cuda, name, frames.nbytes) as region, InferenceServerClient(url, channel_args=CHANNEL_ARGS) as triton:
        try:
            cuda.set_shared_memory_region(region, [frames])
            triton.register_cuda_shared_memory(name, cuda.get_raw_handle(region), GPU, frames.nbytes)
        except Exception as error:  # each of both libraries has its own
            raise DemoError(f"CUDA shared memory: {error}") from error

        def ask() -> Prediction:
            inputs = infer_inputs(replace(request, inputs=rest))
            shared = InferInput("image_frames", list(frames.shape), "UINT8")
            shared.set_shared_memory(name, frames.nbytes)
            with triton_errors(url, None):
                return parse_response(triton.infer(ENSEMBLE, [*inputs, shared], parameters=dict(request.parameters)))

        try:
            yield ask
        finally:
            triton.unregister_cuda_shared_memory(name)


@contextmanager
def _freed(cuda: Any, name: str, size: int) -> Iterator[Any]:
    try:
        region = cuda.create_shared_memory_region(name, size, GPU)
    except cuda.CudaSharedMemoryException as error:
        raise DemoError(f"CUDA shared memory: {error}") from error
    try:
        yield region
    finally:
        cuda.destroy_shared_memory_region(region)
