"""What needs no server: refusals, and the GPU's memory by a stand-in, since it has never been run on one."""

import asyncio
import base64
import socket
import sys
from types import ModuleType

import numpy as np
import pytest
import tritonclient.utils
from alpamayo_client import (
    AlpamayoClient,
    AsyncAlpamayoClient,
    InvalidRequestError,
    Scene,
    TimedOutError,
    UnavailableError,
    compare,
)
from little_triton import answer

CUDA = "tritonclient.utils.cuda_shared_memory"


@pytest.mark.parametrize("kind", ["shm", True, ""])
def test_an_unknown_kind(kind):
    with pytest.raises(InvalidRequestError, match=r"shared_memory: got .*, wanted 'system' or 'cuda', or None"):
        AlpamayoClient("localhost:8001", shared_memory=kind)


def test_nobody_listens(frames, history):
    with AlpamayoClient("127.0.0.1:9", shared_memory="system") as client, pytest.raises(UnavailableError):
        client.predict(frames, *history)


def test_a_server_that_does_not_know_shared_memory(triton, frames, history):
    with (
        AlpamayoClient(triton.url, shared_memory="system") as client,
        pytest.raises(InvalidRequestError, match=r"cannot open this process's memory .*it must run on this machine"),
    ):
        client.predict(frames, *history)
    assert triton.requests == []


def test_without_the_extra(triton, frames, history, monkeypatch):
    monkeypatch.setitem(sys.modules, CUDA, None)
    monkeypatch.delattr(tritonclient.utils, "cuda_shared_memory", raising=False)
    refusal = pytest.raises(ImportError, match=r"pip install '\./client\[cuda\]'")
    with AlpamayoClient(triton.url, shared_memory="cuda") as client, refusal:
        client.predict(frames, *history)


class CudaMemory(ModuleType):
    """As tritonclient's module, of which it records what is asked; regions are numbers."""

    class CudaSharedMemoryException(Exception):
        pass

    def __init__(self):
        super().__init__(CUDA)
        self.regions, self.written = [], []

    def create_shared_memory_region(self, name, size, device):
        if size > 2**20:
            raise self.CudaSharedMemoryException("unable to create cuda shared memory handle") from MemoryError("full")
        self.regions.append((name, size, device))
        return len(self.regions) - 1

    def get_raw_handle(self, region):
        return base64.b64encode(f"handle {region}".encode())

    def set_shared_memory_region(self, region, arrays):
        self.written.append((region, "host", arrays))

    def set_shared_memory_region_from_dlpack(self, region, arrays):
        self.written.append((region, "gpu", arrays))

    def destroy_shared_memory_region(self, region):
        self.regions[region] = None


class OnGpu:
    """As much of torch's tensor as is looked at."""

    shape, ndim, dtype, nbytes = (1, 4, 3, 32, 48), 5, "torch.uint8", 4 * 3 * 32 * 48

    def __array__(self, *_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __dlpack_device__(self):
        return 2, 0


@pytest.fixture
def cuda(monkeypatch):
    module = CudaMemory()
    monkeypatch.setitem(sys.modules, CUDA, module)
    monkeypatch.setattr(tritonclient.utils, "cuda_shared_memory", module, raising=False)
    return module


def test_frames_in_the_gpu_s_memory(triton, frames, history, cuda):
    on_gpu = OnGpu()
    with AlpamayoClient(triton.url, shared_memory="cuda") as client:
        for them in (frames, on_gpu):
            client.predict(them, *history)
        ((name, size, device),) = cuda.regions
        assert (size, device) == (frames.nbytes, 0)
        assert triton.cuda_regions == {name: (b"handle 0", 0, size)}
    assert [(region, where) for region, where, _ in cuda.written] == [(0, "host"), (0, "gpu")]
    assert cuda.written[1][2] == [on_gpu]
    for request, shape in zip(triton.requests, (frames.shape, OnGpu.shape), strict=True):
        (shared,) = (it for it in request.inputs if it.name == "image_frames")
        assert tuple(shared.shape) == shape
        assert shared.datatype == "UINT8"
        assert shared.parameters["shared_memory_region"].string_param == name
        assert shared.parameters["shared_memory_byte_size"].int64_param == np.prod(shape)
        assert len(request.raw_input_contents) == len(request.inputs) - 1
    assert cuda.regions == [None]
    assert triton.cuda_regions == {}


def test_the_same_for_asyncio(triton, history, cuda):
    async def ask():
        async with AsyncAlpamayoClient(triton.url, shared_memory="cuda") as client:
            await client.predict(OnGpu(), *history)
            assert len(triton.cuda_regions) == 1

    asyncio.run(ask())
    assert (cuda.regions, triton.cuda_regions) == ([None], {})


def test_a_scene_s_frames_may_be_on_the_gpu(triton, history, cuda, tmp_path):
    scene = Scene(OnGpu(), *history)
    with AlpamayoClient(triton.url, shared_memory="cuda") as client:
        client.predict(scene)
        triton.outputs = answer(samples=2)
        compare(client, scene, ["Stop."])
    assert [arrays for _, where, arrays in cuda.written if where == "gpu"] == [[scene.image_frames]] * 2
    with pytest.raises(InvalidRequestError, match="image_frames: wanted an array of numbers in host memory"):
        scene.save(tmp_path / "scene.npz")


def test_a_gpu_that_is_full(triton, history, cuda):
    frames = np.zeros((1, 1, 3, 1000, 1000), np.uint8)
    refusal = pytest.raises(InvalidRequestError, match=r"shared_memory='cuda': GPU 0 .*: full; leave shared_memory out")
    with AlpamayoClient(triton.url, shared_memory="cuda") as client, refusal:
        client.predict(frames, *history)


@pytest.mark.parametrize("kind", [None, "system"])
def test_frames_on_a_gpu_need_its_memory(triton, history, kind):
    refusal = pytest.raises(InvalidRequestError, match="image_frames: wanted an array of numbers in host memory")
    with AlpamayoClient(triton.url, shared_memory=kind) as client, refusal:
        client.predict(OnGpu(), *history)


def test_a_silent_server(frames, history):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            AlpamayoClient(url, shared_memory="system") as client,
            pytest.raises(TimedOutError, match=r"within 0\.3 s"),
        ):
            client.predict(frames, *history, timeout_s=0.3)
