"""The repository's limits, and the server settings that follow from them."""

import math
from dataclasses import dataclass

from alpamayo_export.errors import ExportError

MAX_ASPECT = 200
_MERGED_PATCH = 32  # pixels: a patch of 16, merged 2 x 2
_BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Limits:
    """Fixed at export; a request beyond them is refused."""

    max_images: int
    max_trajectories: int  # sets x samples
    max_generation_length: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ExportError(f"{name} must be at least 1, got {value}")


def max_image_tokens(max_pixels: int) -> int:
    """The most tokens an image can have: `max_pixels`, or a sliver whose short side is held up at 32 pixels."""
    return math.ceil(max(max_pixels, _MERGED_PATCH * math.sqrt(max_pixels * MAX_ASPECT)) / _MERGED_PATCH**2)


def max_kv_tokens(limits: Limits, text_tokens: int, max_pixels: int) -> int:
    """The longest packed sequence: the prompt, and every thought at its longest.

    Args:
        limits: the repository's.
        text_tokens: the prompt's tokens that belong to no image; an image brings two more than its own.
        max_pixels: of an image after resizing.
    """
    prompt = text_tokens + limits.max_images * (max_image_tokens(max_pixels) + 2)
    return prompt + limits.max_trajectories * limits.max_generation_length


def kv_bytes(tokens: int, layers: int, kv_heads: int, head_dim: int, precision: str) -> int:
    return layers * 2 * kv_heads * tokens * head_dim * _BYTES[precision]


def tritonserver_flags(weight_bytes: int, kv_cache_bytes: int, gpu: bool) -> list[str]:
    """Flags that depend on the checkpoint's size.

    - The stub's start includes loading the weights: a minute, and a second for every 100 MB.
    - Frames, and without a GPU the KV cache, pass through the stubs' shared memory, which grows in steps.
    - On a GPU the KV cache passes through Triton's pool, once on each side of the hand-over; where it does not fit,
      Triton falls back to host memory.
    """
    flags = [
        f"--backend-config=python,stub-timeout-seconds={60 + weight_bytes // 100_000_000}",
        f"--backend-config=python,shm-default-byte-size={16 << 20}",
        f"--backend-config=python,shm-growth-byte-size={64 << 20}",
    ]
    if gpu:
        pool = 64 * 2**20 + 2 * kv_cache_bytes
        flags.append(f"--cuda-memory-pool-byte-size=0:{pool}")
    return flags
