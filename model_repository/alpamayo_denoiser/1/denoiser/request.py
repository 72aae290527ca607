"""The denoiser's request: five tensors of one packed sequence, checked against each other and the limits."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from contract import NO_OWNER, PROMPT_OWNER, WAYPOINTS, InvalidRequest, check_noise, check_shape
from torch import Tensor

MAX_KV = 1e6  # far beyond what a network computes, and far from overflow
MAX_POSITION = 1 << 24  # beyond it float32 no longer counts


@dataclass(frozen=True)
class DenoiserSettings:
    runner: str  # tensorrt, onnxruntime, torch, or auto: what is best where it serves
    precision: str  # fp32 or bf16: the KV cache's and the network's
    layers: int
    heads: int  # of queries
    kv_heads: int
    head_dim: int
    rope_theta: float
    max_kv_tokens: int
    max_trajectories: int

    @classmethod
    def load(cls, folder: Path) -> "DenoiserSettings":
        return cls(**json.loads((folder / "denoiser.json").read_text()))


@dataclass(frozen=True)
class DenoiserRequest:
    """T tokens of one packed sequence, A trajectories.

    Shapes: kv_cache (layers, 2, kv_heads, T, head_dim), kv_owner (T,), action_owner (A,), action_position (A,),
    noise (A, 64, 2). Owners and positions are int32; the noise is float32.
    """

    kv_cache: Tensor
    kv_owner: Tensor
    action_owner: Tensor
    action_position: Tensor
    noise: Tensor


def example_request(
    settings: DenoiserSettings, tokens: int, trajectories: int, device: torch.device
) -> DenoiserRequest:
    """A valid request of that size, to warm a runner with."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[settings.precision]
    shape = (settings.layers, 2, settings.kv_heads, tokens, settings.head_dim)
    with device:
        return DenoiserRequest(
            kv_cache=torch.zeros(shape, dtype=dtype),
            kv_owner=torch.full((tokens,), PROMPT_OWNER, dtype=torch.int32),
            action_owner=torch.zeros(trajectories, dtype=torch.int32),
            action_position=torch.full((trajectories,), tokens, dtype=torch.int32),
            noise=torch.zeros(trajectories, WAYPOINTS, 2),
        )


def check_request(request: DenoiserRequest, settings: DenoiserSettings) -> None:
    """Raises InvalidRequest unless the five tensors describe one packed sequence. Types are Triton's to check."""
    tokens, trajectories = request.kv_owner.shape[0], request.action_owner.shape[0]
    _check_size("kv_owner", "tokens", tokens, settings.max_kv_tokens)
    _check_size("action_owner", "trajectories", trajectories, settings.max_trajectories)
    if request.kv_cache.shape[3] != tokens:
        raise InvalidRequest(f"kv_cache holds {request.kv_cache.shape[3]} tokens, kv_owner {tokens}; they must agree")
    check_shape("action_position", request.action_position.cpu().numpy(), (trajectories,))
    check_noise(request.noise.cpu().numpy(), trajectories)
    _check_owners(request.kv_owner, request.action_owner, settings.max_trajectories)
    low, high = (int(x) for x in request.action_position.aminmax())
    if low < 0 or high > MAX_POSITION:
        raise InvalidRequest(f"action_position must lie in 0 .. {MAX_POSITION}, got {low} .. {high}")
    smallest, largest = (float(x) for x in request.kv_cache.aminmax())  # NaN where there is one
    if not max(-smallest, largest) <= MAX_KV:  # nor NaN
        raise InvalidRequest(
            f"kv_cache must be finite and within +-{MAX_KV:g}, in the rows that nobody owns too; its values lie in "
            f"{smallest:g} .. {largest:g}"
        )


def _check_size(name: str, what: str, size: int, most: int) -> None:
    if not 1 <= size <= most:
        raise InvalidRequest(f"{name} must have 1 .. {most} {what} (the repository's limit), got {size}")


def _check_owners(kv_owner: Tensor, action_owner: Tensor, max_thoughts: int) -> None:
    low, high = (int(x) for x in kv_owner.aminmax())
    if low < NO_OWNER or high >= max_thoughts:
        raise InvalidRequest(f"kv_owner must lie in {NO_OWNER} .. {max_thoughts - 1}, got {low} .. {high}")
    if int(action_owner.min()) < 0:
        raise InvalidRequest(f"action_owner must be 0 or more, got {int(action_owner.min())}")
    if not bool((kv_owner == PROMPT_OWNER).any()):
        raise InvalidRequest(f"kv_owner must mark the prompt's tokens with {PROMPT_OWNER}; there is none")
    # A thought may have no token of its own: where the first one ended it. But not more thoughts than trajectories.
    thoughts = max(len(action_owner), int(kv_owner.max()) + 1)
    if int(action_owner.max()) >= thoughts:
        raise InvalidRequest(
            f"action_owner names thought {int(action_owner.max())}; kv_owner has tokens of thoughts up to "
            f"{int(kv_owner.max())}, and there are {len(action_owner)} trajectories"
        )
