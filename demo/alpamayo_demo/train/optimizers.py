"""Muon for the matrices inside the layers, AdamW for everything else."""

from itertools import chain
from typing import Any

import torch
from torch import nn

MUON_RATE, ADAM_RATE, WEIGHT_DECAY = 0.02, 1.5e-3, 0.02
_LAYERS = (".layers.", ".blocks.", "merger")


def optimizers_of(*modules: nn.Module) -> list[torch.optim.Optimizer]:
    """Each group of parameters keeps its rate at the top of the schedule as `peak`."""
    parameters = list(chain.from_iterable(module.named_parameters() for module in modules))
    inner = [p for name, p in parameters if p.ndim == 2 and any(part in name for part in _LAYERS)]
    rest = [p for name, p in parameters if not any(p is it for it in inner)]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(inner, lr=MUON_RATE, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(groups, lr=ADAM_RATE, betas=(0.9, 0.98)),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers
