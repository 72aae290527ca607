"""The repository's limits, and the server settings that follow from them."""

import math
from dataclasses import dataclass

from alpamayo_model_repository.contract import KV_BUCKET, MAX_IMAGE_ASPECT

from alpamayo_export.errors import ExportError

MERGED_PATCH = 32  # pixels: a patch of 16, merged 2 x 2
_BYTES = {"fp32": 4, "bf16": 2}
USUAL_ASPECT = 4  # long side : short side; no camera's frame is longer


@dataclass(frozen=True)
class Limits:
    """Fixed at export; a request beyond them is refused."""

    max_images: int = 16  # cameras x frames
    max_trajectories: int = 32  # sets x samples
    max_generation_length: int = 256  # tokens a thought

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ExportError(f"{name} must be at least 1, got {value}")


def max_image_tokens(min_pixels: int, max_pixels: int, aspect: float = MAX_IMAGE_ASPECT) -> int:
    """The most tokens an image can have whose long side is at most `aspect` times its short side.

    `max_pixels`, but for slivers: one that is shrunk keeps a short side of 32 pixels, and one that is grown to
    `min_pixels` has both sides rounded up.
    """
    stretch = math.sqrt(aspect)
    shrunk = MERGED_PATCH * math.sqrt(max_pixels) * stretch
    side = math.sqrt(min_pixels)
    grown = (side * stretch + MERGED_PATCH) * (side / stretch + MERGED_PATCH)
    return math.ceil(max(max_pixels, shrunk, grown) / MERGED_PATCH**2)


def max_kv_tokens(
    limits: Limits, text_tokens: int, min_pixels: int, max_pixels: int, aspect: float = MAX_IMAGE_ASPECT
) -> int:
    """Rows of the largest KV cache: the prompt, and every thought at its longest, in whole buckets.

    Args:
        limits: the repository's.
        text_tokens: the prompt's tokens that belong to no image; an image brings two more than its own.
        min_pixels: of an image after resizing.
        max_pixels: likewise.
        aspect: of the images, long side : short side, at most.
    """
    prompt = text_tokens + limits.max_images * (max_image_tokens(min_pixels, max_pixels, aspect) + 2)
    tokens = prompt + limits.max_trajectories * limits.max_generation_length
    return math.ceil(tokens / KV_BUCKET) * KV_BUCKET


@dataclass(frozen=True)
class KvCache:
    """What passes from the reasoner to the denoiser: (layers, 2, kv_heads, up to max_tokens, head_dim)."""

    layers: int
    kv_heads: int
    head_dim: int
    max_tokens: int
    precision: str

    @property
    def max_bytes(self) -> int:
        return self.layers * 2 * self.kv_heads * self.max_tokens * self.head_dim * _BYTES[self.precision]


def tritonserver_flags(weight_bytes: int, kv_cache_bytes: int, gpu: bool) -> list[str]:
    """Flags that depend on the checkpoint's size.

    - The stub's start includes loading the weights: a minute, and a second for every 100 MB.
    - Frames, and without a GPU the KV cache, pass through the stubs' shared memory, which grows in steps.
    - On a GPU the KV cache passes through Triton's pool, once on each side of the hand-over; where it does not fit,
      Triton falls back to host memory, which the denoiser refuses.

    Args:
        weight_bytes: of all models.
        kv_cache_bytes: of the longest KV cache that the pool is for.
        gpu: whether the networks run on one.
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
