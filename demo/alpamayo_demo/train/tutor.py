"""Heads that exist in training only: they ask the vision tower directly what the road shows, and spare it the long way
through the language model that the first lessons would otherwise take.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from alpamayo_demo.road.situations import Situation

KNOTS = 8  # into which an action is summed up


class Tutor(nn.Module):
    """Reads the features of all of a scene's image tokens."""

    def __init__(self, images: int, tokens: int, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.situation = nn.Linear(images * tokens * hidden_size, len(Situation))
        self.action = nn.Linear(images * tokens * hidden_size, 2 * KNOTS)
        for head in (self.situation, self.action):  # it starts by guessing nothing
            nn.init.normal_(head.weight, std=1e-3)
            nn.init.zeros_(head.bias)

    def forward(self, features: Tensor, situation: Tensor, action: Tensor) -> Tensor:
        """The loss of guessing `situation` (B,) and the means of `action` (B, 64, 2) over KNOTS stretches of it.

        `features`: (B x images x tokens, hidden).
        """
        seen = self.norm(features).view(len(situation), -1)
        knots = action.unflatten(1, (KNOTS, -1)).mean(dim=2).flatten(1)
        return F.cross_entropy(self.situation(seen), situation) + F.mse_loss(self.action(seen), knots)
