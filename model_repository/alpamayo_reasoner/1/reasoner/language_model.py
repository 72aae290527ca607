"""The language model's forward pass, written for one packed sequence over the weights that transformers has loaded.

What it does otherwise than transformers: matrices that read the same input are one; keys and values are written into
the packed KV cache where they belong; nothing in it waits for the GPU, so that it can be recorded as a CUDA graph.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextDecoderLayer,
    Qwen3VLTextModel,
    Qwen3VLTextRMSNorm,
)

from reasoner.attention import Attend


class LanguageModel:
    """transformers' text model, run its own way; it shares its weights."""

    def __init__(self, model: Qwen3VLTextModel) -> None:
        self.hidden_size = model.config.hidden_size
        self._layers = []
        for layer in model.layers:
            self._layers.append(_Layer(layer))
            if model.norm.weight.is_cuda:
                torch.cuda.empty_cache()  # of the matrices that are one now: the denoiser may need that memory
        self._norm = model.norm
        self._rotary_emb = model.rotary_emb

    def rope(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (n, 1, head_dim) of positions (3, n): temporal, height, width."""
        like = self._norm.weight  # for its type and device
        cos, sin = self._rotary_emb(like, position_ids[:, None])
        first, second = sin[0].chunk(2, dim=-1)
        return cos[0, :, None], torch.cat([-first, second], dim=-1)[:, None]

    def __call__(
        self,
        hidden: Tensor,
        rope: tuple[Tensor, Tensor],
        kv_cache: Tensor,
        rows: Tensor,
        attend: Attend,
        image_rows: Tensor | None = None,
        deepstack: Sequence[Tensor] = (),
    ) -> Tensor:
        """Runs n tokens, and writes their keys and values.

        Args:
            hidden: (n, hidden) embeddings.
            rope: of their positions.
            kv_cache: (layers, 2, kv_heads, T, head_dim).
            rows: (n,) where they go in it.
            attend: what of it they look at.
            image_rows: which of the n tokens are the images'.
            deepstack: what the vision tower adds to these after the first layers, (images' tokens, hidden) each.

        Returns:
            (n, hidden), normalised.
        """
        for i, layer in enumerate(self._layers):
            hidden = layer(hidden, rope, kv_cache[i], rows, attend)
            if i < len(deepstack):
                assert image_rows is not None
                hidden = hidden.index_add(0, image_rows, deepstack[i])
        return _normalised(hidden, self._norm)


class _Layer:
    def __init__(self, layer: Qwen3VLTextDecoderLayer) -> None:
        attn, mlp = layer.self_attn, layer.mlp
        self._head_dim = attn.head_dim
        self._qkv = _as_one(attn.q_proj, attn.k_proj, attn.v_proj)
        self._out = _as_one(attn.o_proj)
        self._gate_up = _as_one(mlp.gate_proj, mlp.up_proj)
        self._down = _as_one(mlp.down_proj)
        self._act_fn = mlp.act_fn
        self._input_norm, self._mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        self._heads = attn.q_proj.out_features // attn.head_dim
        self._kv_heads = attn.k_proj.out_features // attn.head_dim
        self._qk_eps = attn.q_norm.variance_epsilon
        self._qk_weight = torch.cat(
            [attn.q_norm.weight.expand(self._heads, -1), attn.k_norm.weight.expand(self._kv_heads, -1)]
        )

    def __call__(self, hidden: Tensor, rope: tuple[Tensor, Tensor], kv: Tensor, rows: Tensor, attend: Attend) -> Tensor:
        """kv is (2, kv_heads, T, head_dim)."""
        qkv = F.linear(_normalised(hidden, self._input_norm), self._qkv).unflatten(-1, (-1, self._head_dim))
        qk, v = qkv.split([self._heads + self._kv_heads, self._kv_heads], dim=1)
        qk = _rotated(F.rms_norm(qk, (self._head_dim,), eps=self._qk_eps) * self._qk_weight, rope)
        q, k = qk.split([self._heads, self._kv_heads], dim=1)
        keys, values = kv
        keys.index_copy_(1, rows, k.transpose(0, 1))
        values.index_copy_(1, rows, v.transpose(0, 1))
        hidden = torch.addmm(hidden, attend(q, keys, values), self._out.T)
        gate, up = F.linear(_normalised(hidden, self._mlp_norm), self._gate_up).chunk(2, dim=-1)
        return torch.addmm(hidden, self._act_fn(gate) * up, self._down.T)


def _normalised(x: Tensor, norm: Qwen3VLTextRMSNorm) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _rotated(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """x is (n, heads, head_dim); the sines of its first half are negative."""
    cos, sin = rope
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def _as_one(*linears: nn.Linear) -> Tensor:
    """The matrices below each other, (out_features, in_features); the modules keep views of it."""
    if any(linear.bias is not None for linear in linears):
        raise RuntimeError("the language model has biases in its projections; this model is served without")
    if len(linears) == 1:
        return linears[0].weight.data
    whole = torch.cat([linear.weight.data for linear in linears])
    for linear, part in zip(linears, whole.split([linear.out_features for linear in linears]), strict=True):
        linear.weight.data = part
    return whole
