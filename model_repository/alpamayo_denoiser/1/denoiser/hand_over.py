"""Whether the KV cache arrived as the reasoner sent it."""

import numpy as np
import numpy.typing as npt
import torch
from contract import HandOverFailed, check_shape
from kv_checksum import kv_checksum
from torch import Tensor

FLAG = "--cuda-memory-pool-byte-size"
REASONS = ("host_memory", "damaged")


def check_hand_over(kv_cache: Tensor, checksum: npt.NDArray[np.int64] | None, device: torch.device) -> None:
    """A cache without a checksum comes from a client that calls the denoiser on its own: it may lie anywhere.

    Args:
        kv_cache: as it arrived.
        checksum: (layers, 2), what `kv_checksum` says of the cache that was sent.
        device: the denoiser's.

    Raises:
        InvalidRequest: the checksum is of another network's cache.
        HandOverFailed: on a GPU, it came through host memory, for want of room in Triton's pool; or it is another one.
    """
    if checksum is None:
        return
    check_shape("kv_checksum", checksum, (*kv_cache.shape[:2],))
    if device.type == "cuda" and kv_cache.device.type != "cuda":
        raise HandOverFailed(
            "host_memory",
            f"kv_cache ({kv_cache.nbytes} bytes) came through host memory instead of staying on the GPU: Triton's pool "
            f"has no room for it; raise {FLAG} (alpamayo-serve takes it from the repository's tritonserver_flags)",
        )
    found = kv_checksum(kv_cache).cpu().numpy()
    damaged = int((found != checksum).any(axis=1).sum())
    if damaged:
        raise HandOverFailed(
            "damaged",
            f"kv_cache is not what kv_checksum was taken of ({damaged} layers differ): it was damaged on its way; "
            f"if it comes from the reasoner, raise {FLAG}",
        )
