"""The flow, integrated: noise at t = 0 to normalised actions at t = 1."""

from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]


def denoise(
    velocity: Velocity, noise: Tensor, steps: int, raise_if_stopped: Callable[[], None] = lambda: None
) -> Tensor:
    """Euler steps of 1 / steps, in float32.

    Args:
        velocity: (x (A, 64, 2), t) to (A, 64, 2).
        noise: (A, 64, 2).
        steps: at least 1.
        raise_if_stopped: called before every step; what it raises passes through.

    Returns:
        (A, 64, 2) normalised accelerations and curvatures.

    Raises:
        RuntimeError: they are not finite.
    """
    x = noise
    for step in range(steps):
        raise_if_stopped()
        x = x + velocity(x, step / steps) / steps
    if not bool(torch.isfinite(x).all()):
        raise RuntimeError("the denoiser computed actions that are not finite")
    return x
