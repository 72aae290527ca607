"""One server of the golden checkpoint for all tests of this folder, and what a healthy one answers."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from alpamayo_client import AlpamayoClient

from .golden_case import golden_case
from .live_server import LOG_HEADER, LOG_SETTINGS, LiveServer, live_server
from .wire import Tensors, ask, assert_same


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(repository, tmp_path_factory.mktemp("server"), *LOG_SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: LiveServer) -> Iterator[AlpamayoClient]:
    with AlpamayoClient(server.grpc) as client:
        yield client


@pytest.fixture(scope="session")
def triton(server: LiveServer) -> Iterator[grpcclient.InferenceServerClient]:
    """For what the project's client would refuse, or does not offer."""
    with grpcclient.InferenceServerClient(server.grpc) as triton:
        yield triton


@pytest.fixture(scope="session")
def small_scene() -> dict[str, np.ndarray]:
    """The ensemble's inputs for one small image: quickly answered."""
    frames = np.random.default_rng(0).integers(0, 256, (1, 1, 3, 64, 96), dtype=np.uint8)
    return golden_case("greedy").inputs | {"image_frames": frames}


SMALL = {"num_traj_samples": 2, "max_generation_length": 3, "inference_steps": 2, "seed": 5}


# On two cores 5 s in the reasoner: hot thoughts seldom end.
LONG_THOUGHTS = {"num_traj_samples": 32, "max_generation_length": 256, "temperature": 100, "top_p": 1.0, "seed": 1}
LONG = {**LONG_THOUGHTS, "inference_steps": 100}  # on two cores 25 s in the denoiser

PATIENCE_S = 30  # a small request must not wait for a long one that nobody waits for


@pytest.fixture
def runs(server: LiveServer, triton: grpcclient.InferenceServerClient) -> Iterator[Callable[[str], int]]:
    """How many requests a model has begun to work on."""
    triton.update_log_settings({"log_verbose_level": 1}, headers=LOG_HEADER)
    yield server.runs
    triton.update_log_settings({"log_verbose_level": 0}, headers=LOG_HEADER)


@pytest.fixture
def stopped(server: LiveServer) -> Callable[[str], int]:
    """How often a stage has stopped working for that reason; its line comes by a way of its own, maybe after all."""
    return lambda why: len(re.findall(f"stopped working: the request.*{why}", server.log.read_text()))


@pytest.fixture(scope="session")
def first_answer(triton: grpcclient.InferenceServerClient, small_scene: dict[str, np.ndarray]) -> Tensors:
    return ask(triton, small_scene, SMALL)


@pytest.fixture
def assert_still_serving(
    triton: grpcclient.InferenceServerClient, small_scene: dict[str, np.ndarray], first_answer: Tensors
) -> Callable[[], None]:
    """Asks once more, and the answer is what it was at first, bit for bit."""
    return lambda: assert_same(ask(triton, small_scene, SMALL), first_answer)
