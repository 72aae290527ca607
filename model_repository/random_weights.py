"""Random weights, to measure with: how long a request takes does not depend on their values."""

from math import prod

import torch
from torch import Tensor, nn


def random_weight(shape: torch.Size | tuple[int, ...], dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    """Norms and biases are one, and what is multiplied keeps about the size of what it is given: nothing overflows.

    A GPU draws other numbers than a CPU from the same seed.
    """
    if len(shape) < 2:
        return torch.ones(shape, dtype=dtype, device=device)
    weight = torch.empty(shape, dtype=dtype, device=device)
    return weight.normal_(std=prod(shape[1:]) ** -0.5, generator=torch.Generator(device).manual_seed(seed))


def seed_of_weight(seed: int, number: int) -> int:
    """The seed of a model's weight by its number, of at most 2**20: each has its own stream."""
    return seed << 20 | number


@torch.no_grad()
def randomise(model: nn.Module, seed: int) -> None:
    """Draws all weights of `model` where they lie; those that are tied to others are drawn once for each name."""
    for number, weight in enumerate(model.state_dict().values()):
        weight.copy_(random_weight(weight.shape, weight.dtype, weight.device, seed_of_weight(seed, number)))
