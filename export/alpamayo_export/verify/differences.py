"""How far apart two tensors are."""

import math

import torch
from torch import Tensor


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """The worst vector's difference, over the length that such vectors usually have.

    Vectors lie along the last axis; "usually" is their root mean square over the second last, so that a small one
    among large ones does not count for more than these. Infinite where shapes differ, or what is infinite in them, or
    where there is a NaN.
    """
    if found.shape != wanted.shape or found.isnan().any() or not torch.equal(found.isfinite(), wanted.isfinite()):
        return math.inf
    found, wanted = (x.double().where(x.isfinite(), 0) for x in (found, wanted))
    usual = wanted.square().sum(-1, keepdim=True).mean(-2, keepdim=True).sqrt()
    worst = (found - wanted).square().sum(-1, keepdim=True).sqrt() / usual.clamp_min(torch.finfo(torch.float32).tiny)
    return float(worst.max())


def differing(found: Tensor, wanted: Tensor) -> int:
    """How many elements are not equal; all of them, and at least one, where shapes differ."""
    if found.shape != wanted.shape:
        return max(found.numel(), wanted.numel(), 1)
    return int((found != wanted).sum())
