"""Frames to a server on this machine through memory that both see, instead of through gRPC."""

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from .checks import on_gpu
from .errors import InvalidRequestError, from_triton
from .extras import extra

Kind: TypeAlias = Literal["system", "cuda"]
"""Where frames are shared: in /dev/shm, or on the GPU."""

OTHERWISE = "leave shared_memory out, and frames go through gRPC"


class Region(ABC):
    """Memory of this process for one call's frames, which the server can find by a name that nobody can guess."""

    def __init__(self, size: int) -> None:
        """Raises InvalidRequestError if there is no room for `size` bytes."""
        self.name = f"alpamayo_client_{secrets.token_hex(16)}"
        self.size = size

    @abstractmethod
    def write(self, frames: Any) -> None:
        """Raises InvalidRequestError."""

    @abstractmethod
    def register(self, triton: Any, timeout_s: float) -> Any:
        """Ask the server to open it; awaited if `triton` is the client for asyncio."""

    @abstractmethod
    def unregister(self, triton: Any, timeout_s: float) -> Any:
        """Likewise: to forget it."""

    @abstractmethod
    def free(self) -> None:
        """Give back what this process has of it; the server keeps its part until it has unregistered it."""


class SystemRegion(Region):
    """In /dev/shm."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        try:
            self._memory = _reserved(self.name, size)
        except OSError as error:
            raise InvalidRequestError(
                f"shared_memory='system': got {size / 1e6:.1f} MB of frames, and /dev/shm has no room for them "
                f"({error}): make it larger (docker run --shm-size), or {OTHERWISE}"
            ) from error

    def write(self, frames: NDArray[np.uint8]) -> None:
        np.copyto(np.ndarray(frames.shape, np.uint8, buffer=self._memory.buf), frames)

    def register(self, triton: Any, timeout_s: float) -> Any:
        return triton.register_system_shared_memory(self.name, f"/{self.name}", self.size, client_timeout=timeout_s)

    def unregister(self, triton: Any, timeout_s: float) -> Any:
        return triton.unregister_system_shared_memory(self.name, client_timeout=timeout_s)

    def free(self) -> None:
        self._memory.close()
        self._memory.unlink()


def _reserved(name: str, size: int) -> SharedMemory:
    """Raises OSError. Memory that is not reserved would kill the process that writes there, if /dev/shm is full."""
    memory = SharedMemory(name, create=True, size=size)  # if this process dies, Python's resource tracker unlinks it
    try:
        with open(f"/dev/shm/{name}", "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        memory.close()
        memory.unlink()
        raise
    return memory


class CudaRegion(Region):
    """On the server's GPU. Needs the extra `cuda`."""

    GPU = 0  # the one that an exported repository uses

    def __init__(self, size: int) -> None:
        super().__init__(size)
        try:
            from tritonclient.utils import cuda_shared_memory as cuda
        except (ImportError, RuntimeError) as error:
            raise ImportError(f"shared_memory='cuda' needs one more package ({error}): {extra('cuda')}") from error
        self._cuda = cuda
        with self._errors():
            self._handle = cuda.create_shared_memory_region(self.name, size, self.GPU)

    def write(self, frames: Any) -> None:
        with self._errors():
            if on_gpu(frames):
                self._cuda.set_shared_memory_region_from_dlpack(self._handle, [frames])
            else:
                self._cuda.set_shared_memory_region(self._handle, [frames])

    def register(self, triton: Any, timeout_s: float) -> Any:
        handle = self._cuda.get_raw_handle(self._handle)
        return triton.register_cuda_shared_memory(self.name, handle, self.GPU, self.size, client_timeout=timeout_s)

    def unregister(self, triton: Any, timeout_s: float) -> Any:
        return triton.unregister_cuda_shared_memory(self.name, client_timeout=timeout_s)

    def free(self) -> None:
        self._cuda.destroy_shared_memory_region(self._handle)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._cuda.CudaSharedMemoryException as error:
            why = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
            raise InvalidRequestError(
                f"shared_memory='cuda': GPU {self.GPU} of this process: {why}; {OTHERWISE}"
            ) from error


REGIONS: dict[Kind, type[Region]] = {"system": SystemRegion, "cuda": CudaRegion}


class SharedFrames:
    """A client's regions: one for each call in flight, used again by later ones."""

    def __init__(self, kind: Kind) -> None:
        """Raises InvalidRequestError."""
        if kind not in REGIONS:
            raise InvalidRequestError(f"shared_memory: got {kind!r}, wanted {' or '.join(map(repr, REGIONS))}, or None")
        self.kind = kind
        self._free: list[Region] = []
        self._held: list[Region] = []
        self.freed: list[Region] = []
        """By this process, and not yet by the server."""

    @contextmanager
    def holding(self, frames: Any) -> Iterator[Region]:
        """A region with these frames in it, for the block.

        A request that was given up may read it later, when it holds others: nobody waits for that answer.
        Raises InvalidRequestError if there is no room.
        """
        region = self._free.pop() if self._free else None
        if region is not None and region.size < frames.nbytes:
            self._give_back([region])
            region = None
        region = region or REGIONS[self.kind](frames.nbytes)
        self._held.append(region)
        try:
            region.write(frames)
            yield region
        finally:
            if region in self._held:  # not closed meanwhile
                self._held.remove(region)
                self._free.append(region)

    def take_freed(self) -> list[Region]:
        """`freed`, for who unregisters them."""
        regions, self.freed = self.freed, []
        return regions

    def close(self) -> None:
        """Free every region."""
        self._give_back(self._free + self._held)
        self._free, self._held = [], []

    def _give_back(self, regions: list[Region]) -> None:
        for region in regions:
            region.free()
        self.freed += regions


def may_soon_be_unregistered(error: InferenceServerException) -> bool:
    """A request that was given up still holds the region, until its model notices that."""
    return "currently in use" in str(error.message())


@contextmanager
def registering(url: str, timeout_s: float) -> Iterator[None]:
    """Around a request that the server open a region: that it has done so before is fine."""
    try:
        yield
    except InferenceServerException as error:
        status, words = str(error.status()), str(error.message())
        if status == "StatusCode.ALREADY_EXISTS":
            return
        if "restricted" in words:
            raise InvalidRequestError(
                f"shared_memory: {url} refuses it ({words}): start the server without that restriction, or {OTHERWISE}"
            ) from error
        if status in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED"):
            raise from_triton(error, url, timeout_s) from error
        raise InvalidRequestError(
            f"shared_memory: {url} cannot open this process's memory ({words}): it must run on this machine, as the "
            f"same user, and see the same /dev/shm (docker run --ipc=host); or {OTHERWISE}"
        ) from error
