"""Where chance comes from, and the next token."""

import numpy as np
import torch
from contract import WAYPOINTS
from torch import Tensor

_THOUGHT, _NOISE = 0, 1  # which of the seed's streams
ONE = 1 << 40  # a probability of 1, in the whole numbers that are drawn with: a double holds one a bit below it, too


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
    # In whole numbers: a GPU adds up floats in an order that differs from run to run.
    share = (probability.double() * ONE).long()
    if top_k:
        share[:, top_k:] = 0
    before = share.cumsum(dim=-1) - share
    if top_p < 1:
        outside = before.double() >= top_p * share.sum(dim=-1, keepdim=True)
        outside[:, 0] = False
        share = share.masked_fill(outside, 0)
    cumulative = share.cumsum(dim=-1)
    drawn = (cumulative <= (uniform[:, None].double() * cumulative[:, -1:]).long()).sum(dim=-1, keepdim=True)
    last = logits.shape[-1] - 1  # only where logits are NaN is it more, and a GPU would not survive that
    return token.gather(-1, drawn.clamp_(max=last)).squeeze(-1)
