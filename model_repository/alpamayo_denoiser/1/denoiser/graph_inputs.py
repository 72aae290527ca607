"""The exported graph's inputs: a request's tensors, and what follows from them once for all Euler steps."""

import torch
from contract import PROMPT_OWNER, WAYPOINTS
from torch import Tensor

from denoiser.request import DenoiserRequest, DenoiserSettings


def graph_inputs(request: DenoiserRequest, settings: DenoiserSettings) -> dict[str, Tensor]:
    """By name, on the request's device: the KV cache where it lies, and room for x and t, which every step writes."""
    group = settings.heads // settings.kv_heads
    kv_mask, action_mask = attention_masks(request.kv_owner, request.action_owner, group, request.kv_cache.dtype)
    cos, sin = rope(request.action_position, settings.head_dim, settings.rope_theta)
    return {
        "x": torch.empty_like(request.noise),
        "t": torch.zeros((), device=request.noise.device),
        "kv_cache": request.kv_cache.contiguous(),
        "kv_mask": kv_mask,
        "action_mask": action_mask,
        "cos": cos,
        "sin": sin,
    }


def graph_shapes(settings: DenoiserSettings, tokens: int, trajectories: int) -> dict[str, tuple[int, ...]]:
    """The shapes of those inputs, for so many KV tokens and trajectories."""
    rows, group = trajectories * WAYPOINTS, settings.heads // settings.kv_heads
    return {
        "x": (trajectories, WAYPOINTS, 2),
        "t": (),
        "kv_cache": (settings.layers, 2, settings.kv_heads, tokens, settings.head_dim),
        "kv_mask": (group * rows, tokens),
        "action_mask": (group * rows, rows),
        "cos": (rows, settings.head_dim),
        "sin": (rows, settings.head_dim),
    }


def attention_masks(kv_owner: Tensor, action_owner: Tensor, group: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What an action token sees: the prompt, its own thought, and its own trajectory's 64 action tokens.

    Args:
        kv_owner: (T,) int32.
        action_owner: (A,) int32.
        group: query heads that share a KV head; attention takes them for rows of one longer sequence.
        dtype: the KV cache's.

    Returns:
        (group A 64, T), over the KV cache, and (group A 64, A 64), over the action tokens: 0, or -inf where a token
        does not look.
    """
    token_owner = action_owner.repeat_interleave(WAYPOINTS)[:, None]
    sees_kv = (kv_owner == PROMPT_OWNER) | (kv_owner == token_owner)
    trajectory = torch.arange(len(action_owner), device=action_owner.device).repeat_interleave(WAYPOINTS)
    sees_actions = trajectory == trajectory[:, None]
    return _additive(sees_kv, group, dtype), _additive(sees_actions, group, dtype)


def _additive(sees: Tensor, group: int, dtype: torch.dtype) -> Tensor:
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(~sees, -torch.inf).repeat(group, 1)


def rope(action_position: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """(A 64, head_dim) float32 cosines and sines. The three mRoPE axes agree for action tokens: plain RoPE.

    Args:
        action_position: (A,) int32, of each trajectory's first action token.
        head_dim: of the heads that are rotated.
        theta: RoPE's base.
    """
    waypoint = torch.arange(WAYPOINTS, device=action_position.device)
    position = (action_position[:, None] + waypoint).flatten().float()
    exponent = torch.arange(0, head_dim, 2, device=position.device).float() / head_dim
    angle = position[:, None] * (1.0 / theta**exponent)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()
