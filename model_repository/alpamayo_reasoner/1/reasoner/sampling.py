"""Where chance comes from, and the next token."""

import numpy as np
import torch
from contract import WAYPOINTS
from torch import Tensor

_THOUGHT, _NOISE = 0, 1  # which of the seed's streams


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def thought_uniforms(seed: int, thoughts: int, length: int) -> Tensor:
    """(thoughts, length) uniform numbers; row i is the stream (seed, i), whatever the number of rows."""
    return torch.from_numpy(np.stack([_stream(seed, _THOUGHT, i).random(length) for i in range(thoughts)]))


def trajectory_noise(seed: int, sets: int, samples: int) -> Tensor:
    """(sets x samples, 64, 2) standard normal, float32; trajectory (set, sample) is the stream of that name."""
    streams = [_stream(seed, _NOISE, i, j) for i in range(sets) for j in range(samples)]
    return torch.from_numpy(np.stack([stream.standard_normal((WAYPOINTS, 2), dtype=np.float32) for stream in streams]))


def next_tokens(logits: Tensor, uniform: Tensor, temperature: float, top_p: float, top_k: int) -> Tensor:
    """One token a row, by inverting the distribution's cumulative sum: reproducible, and without leaving the device.

    The order is the reference's: temperature, then the `top_k` likeliest, then the likeliest whose probabilities sum
    to `top_p` (the one that crosses it included; at least one).

    Args:
        logits: (K, vocabulary) float32; -inf is never drawn.
        uniform: (K,) in [0, 1).
        temperature: 0 takes the likeliest.
        top_p: 0 .. 1.
        top_k: 0 means all.

    Returns:
        (K,) tokens.
    """
    if temperature == 0 or top_k == 1:
        return logits.argmax(dim=-1)
    # Against the maximum, and by a number that float32 has, so that a tiny temperature makes no NaN.
    temperature = max(temperature, torch.finfo(torch.float32).tiny)
    scaled = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    probability, token = scaled.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    if top_k:
        probability[:, top_k:] = 0
        probability = probability / probability.sum(dim=-1, keepdim=True)
    cumulative = probability.cumsum(dim=-1)
    if top_p < 1:
        outside = cumulative - probability >= top_p
        outside[:, 0] = False
        probability = probability.masked_fill(outside, 0)
        cumulative = probability.cumsum(dim=-1)
    drawn = (cumulative <= uniform[:, None].float() * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    last = (probability > 0).sum(dim=-1, keepdim=True) - 1  # where rounding drew past the end
    return token.gather(-1, torch.minimum(drawn, last)).squeeze(-1)
