"""A checksum that travels beside the KV cache, in host memory: a cache that was damaged on its way is noticed."""

import torch
from torch import Tensor

_BITS = {2: torch.int16, 4: torch.int32}  # by bytes of a number


def kv_checksum(kv_cache: Tensor) -> Tensor:
    """(layers, 2) int64 of a KV cache (layers, 2, kv_heads, T, head_dim): of all numbers' bits, as integers, the sum
    weighed by the token's place.

    Exact, and the same on every device; one pass over the cache. Numbers that change places within a token go
    unnoticed.
    """
    of_tokens = kv_cache.view(_BITS[kv_cache.itemsize]).sum(dim=(2, 4), dtype=torch.int64)
    return (of_tokens * torch.arange(1, of_tokens.shape[2] + 1, device=kv_cache.device)).sum(dim=2)
