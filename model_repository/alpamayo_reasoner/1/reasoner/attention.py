"""Attention of a packed sequence's tokens over its KV cache; K and V are never expanded to the query heads.

All take q (n, heads, head_dim), and keys and values (kv_heads, T, head_dim); they return (n, heads x head_dim).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from contract import KV_BUCKET
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def causal(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The prompt: n tokens in the first n rows, each seeing those up to its own."""
    n = q.shape[0]
    attended = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None], keys[None, :, :n], values[None, :, :n], is_causal=True, enable_gqa=True
    )
    return attended[0].transpose(0, 1).flatten(1)


def masked(mask: Tensor) -> Attend:
    """Many tokens at once, by a mask (n, T): true where a token looks."""

    def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        n, kv_heads = q.shape[0], keys.shape[0]
        group = q.shape[1] // kv_heads
        # The heads that share a KV head are queries of one longer sequence.
        attended = F.scaled_dot_product_attention(
            _by_kv_head(q, kv_heads)[None], keys[None], values[None], attn_mask=mask.repeat_interleave(group, dim=0)
        )
        return attended[0].unflatten(1, (n, group)).transpose(0, 1).flatten(1)

    return attend


def split(mask: Tensor) -> Attend:
    """A few tokens over a long cache, as in decoding: every bucket of rows is a batch entry of one matrix product.

    Attention kernels work on a (sequence, head) at a time, and would leave most of a GPU idle here.

    Args:
        mask: (n, T) float32, 0 or -inf; T is a multiple of KV_BUCKET.
    """

    def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        n, heads, head_dim = q.shape
        kv_heads, tokens, _ = keys.shape
        buckets = tokens // KV_BUCKET
        scores = _float32_product(_by_kv_head(q, kv_heads), keys.transpose(1, 2))
        scores = torch.add(mask[:, None], scores.view(kv_heads, n, -1, tokens), alpha=head_dim**-0.5)
        weights = scores.softmax(dim=-1).view(kv_heads, -1, buckets, KV_BUCKET).transpose(1, 2)
        of_buckets = _float32_product(
            weights.to(values.dtype, memory_format=torch.contiguous_format).flatten(0, 1),
            values.view(kv_heads * buckets, KV_BUCKET, head_dim),
        )
        attended = of_buckets.view(kv_heads, buckets, n, heads // kv_heads, head_dim).sum(dim=1)
        return attended.transpose(0, 1).flatten(1).to(values.dtype)

    return attend


def _by_kv_head(q: Tensor, kv_heads: int) -> Tensor:
    """(n, heads, head_dim) to (kv_heads, n x group, head_dim)."""
    return q.unflatten(1, (kv_heads, -1)).transpose(0, 1).flatten(1, 2)


def _float32_product(a: Tensor, b: Tensor) -> Tensor:
    """Batched; summed and returned in float32, whatever the factors are."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    return torch.bmm(a, b, out_dtype=torch.float32) if a.is_cuda else torch.bmm(a.float(), b.float())
