"""One denoising step of the action expert: the only definition of that network.

Parameter names are the checkpoint's, so that its weights load strictly. What is served is this module's exported graph.

The expert's matrices and the KV cache may be bf16. What is summed up over its layers, its norms, and the small
projections between actions and hidden states are float32: that costs next to nothing, and halves the error of bf16.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from alpamayo_model_repository.contract import WAYPOINTS
from torch import Tensor, nn

from alpamayo_export.config import ActionInProjConfig


class FourierFeatures(nn.Module):
    """sqrt(2) [sin 2 pi f x, cos 2 pi f x], float32, frequencies logarithmic from 1 to `max_freq`."""

    freqs: Tensor

    def __init__(self, num_feats: int, max_freq: float) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.logspace(0, math.log10(max_freq), num_feats // 2)[None])

    def forward(self, x: Tensor) -> Tensor:
        """(...,) to (..., num_feats)."""
        angle = x[..., None] * self.freqs[0] * (2 * math.pi)
        return math.sqrt(2) * torch.cat([angle.sin(), angle.cos()], dim=-1)


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Float32, whatever x is."""
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps))


class ActionEncoder(nn.Module):
    """Linear, SiLU, [RMSNorm, Linear, SiLU] x (layers - 1), RMSNorm, Linear: `trunk`, as the checkpoint calls it."""

    def __init__(self, in_size: int, hidden_size: int, out_size: int, layers: int) -> None:
        super().__init__()
        trunk: list[nn.Module] = [nn.Linear(in_size, hidden_size), nn.SiLU()]
        for _ in range(layers - 1):
            trunk += [RMSNorm(hidden_size, 1e-5), nn.Linear(hidden_size, hidden_size), nn.SiLU()]
        trunk += [RMSNorm(hidden_size, 1e-5), nn.Linear(hidden_size, out_size)]
        self.trunk = nn.Sequential(*trunk)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x)


class ActionInProj(nn.Module):
    """One expert token a waypoint, from its noisy acceleration and curvature and the flow's time."""

    def __init__(self, config: ActionInProjConfig, out_size: int) -> None:
        super().__init__()
        feats = config.num_fourier_feats
        self.sinus = nn.ModuleList(FourierFeatures(feats, config.max_freq) for _ in range(2))
        self.timestep_fourier_encoder = FourierFeatures(feats, config.max_freq)
        self.encoder = ActionEncoder(3 * feats, config.hidden_size, out_size, config.num_enc_layers)
        self.norm = nn.LayerNorm(out_size)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (A, 64, 2) and t () to (A, 64, hidden)."""
        of_actions = [encoder(x[..., i]) for i, encoder in enumerate(self.sinus)]
        of_time = self.timestep_fourier_encoder(t).expand(*x.shape[:-1], -1)
        return self.norm(self.encoder(torch.cat([*of_actions, of_time], dim=-1)))


class Attention(nn.Module):
    """Grouped-query attention over the KV cache and the action tokens themselves; K and V are never expanded."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = text.num_attention_heads, text.num_key_value_heads, text.head_dim
        self.q_proj = nn.Linear(text.hidden_size, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(text.hidden_size, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(text.hidden_size, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, text.hidden_size, bias=False)
        self.q_norm = RMSNorm(self.head_dim, text.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, text.rms_norm_eps)

    def forward(self, x: Tensor, kv: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """x (n, hidden), kv (2, kv_heads, T, head_dim), mask (group n, T + n) additive; to (n, hidden)."""
        group, n = self.heads // self.kv_heads, x.shape[0]
        q = rotate(self.q_norm(self._split(self.q_proj(x), self.heads)), rope).to(x.dtype)
        k = rotate(self.k_norm(self._split(self.k_proj(x), self.kv_heads)), rope).to(x.dtype)
        v = self._split(self.v_proj(x), self.kv_heads)
        # The heads that share a KV head are queries of one longer sequence.
        attended = F.scaled_dot_product_attention(
            q.reshape(1, self.kv_heads, group * n, self.head_dim),
            torch.cat([kv[0], k], dim=1)[None],
            torch.cat([kv[1], v], dim=1)[None],
            attn_mask=mask[None, None],
        )
        return self.o_proj(attended.reshape(self.heads, n, self.head_dim).transpose(0, 1).flatten(1))

    def _split(self, x: Tensor, heads: int) -> Tensor:
        """(n, heads x head_dim) to (heads, n, head_dim)."""
        return x.unflatten(-1, (heads, self.head_dim)).transpose(0, 1)


class Mlp(nn.Module):
    def __init__(self, text: Any) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(text.hidden_size, text.intermediate_size, bias=False)
        self.up_proj = nn.Linear(text.hidden_size, text.intermediate_size, bias=False)
        self.down_proj = nn.Linear(text.intermediate_size, text.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    def __init__(self, text: Any) -> None:
        super().__init__()
        self.self_attn = Attention(text)
        self.mlp = Mlp(text)
        self.input_layernorm = RMSNorm(text.hidden_size, text.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(text.hidden_size, text.rms_norm_eps)

    def forward(self, x: Tensor, kv: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """x (n, hidden) in float32, and so what comes out."""
        x = x + self.self_attn(self.input_layernorm(x).to(kv.dtype), kv, rope, mask).float()
        return x + self.mlp(self.post_attention_layernorm(x).to(kv.dtype)).float()


class Expert(nn.Module):
    def __init__(self, text: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(text) for _ in range(text.num_hidden_layers))
        self.norm = RMSNorm(text.hidden_size, text.rms_norm_eps)

    def forward(self, x: Tensor, kv_cache: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x, kv_cache[i], rope, mask)
        return self.norm(x)


class DenoisingStep(nn.Module):
    """The flow's velocity at (x, t), for A trajectories packed into one sequence of n = A x 64 tokens.

    Args:
        action_in_proj: its config.
        text: the expert's text config: the language model's, with the checkpoint's `expert_cfg` on top.
    """

    def __init__(self, action_in_proj: ActionInProjConfig, text: Any) -> None:
        super().__init__()
        self.action_in_proj = ActionInProj(action_in_proj, text.hidden_size)
        self.expert = Expert(text)
        self.action_out_proj = nn.Linear(text.hidden_size, 2)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        kv_cache: Tensor,
        kv_mask: Tensor,
        action_mask: Tensor,
        cos: Tensor,
        sin: Tensor,
    ) -> Tensor:
        """What does not change from step to step comes ready-made, from the stage's `graph_inputs.py`.

        Args:
            x: (A, 64, 2) float32.
            t: () float32.
            kv_cache: (layers, 2, kv_heads, T, head_dim).
            kv_mask: (group n, T), in the cache's type: 0, or -inf where a token does not look; the rows repeat for
                each of the query heads that share a KV head.
            action_mask: (group n, n), likewise for the action tokens.
            cos: (n, head_dim) float32, of the tokens' RoPE angles.
            sin: likewise.

        Returns:
            (A, 64, 2) float32.
        """
        # Side by side here, once a step: torch.export has no words for an input's dimension that is the sum of two.
        mask = torch.cat([kv_mask, action_mask], dim=1)
        hidden = self.expert(self.action_in_proj(x, t).flatten(0, 1), kv_cache, (cos, sin), mask)
        return self.action_out_proj(hidden).unflatten(0, (-1, WAYPOINTS))


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rope
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
