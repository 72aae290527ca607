"""What the student learns from: the thought's next token, and the flow from noise to the driver's action."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import SOON_STEPS, Batch
from .student import Student
from .tutor import Tutor

Losses = dict[str, Tensor]


def losses(
    student: Student,
    tutor: Tutor,
    batch: Batch,
    positions: Tensor,
    rope_delta: int,
    flows: int,
    random: torch.Generator,
) -> Losses:
    """`reasoning`: a thought's cross-entropy, in nats, summed over its tokens; `flow`: squared error of the velocity;
    `seeing`: the tutor's.

    `flows`: noises and times for every scene, which share its KV cache; `positions`: (3, 1, L).
    """
    size, length = batch.ids.shape
    hidden, kv_cache, features = student.read(batch.ids, batch.patches, positions.expand(-1, size, -1))
    labels = batch.labels
    before = hidden[:, length - labels.shape[1] - 1 : -1][labels >= 0]  # logits only where there is a label
    thoughts = (labels >= 0).any(dim=1).sum().clamp(min=1)
    reasoning = F.cross_entropy(student.vlm.lm_head(before).float(), labels[labels >= 0], reduction="sum") / thoughts

    sees = torch.arange(length, device=hidden.device) <= batch.stop[:, None]
    action = batch.action.repeat_interleave(flows, dim=0)
    noise = torch.randn(action.shape, generator=random).to(action.device)
    t = _times(len(action), random).to(action.device)
    x = t[:, None, None] * action + (1 - t[:, None, None]) * noise
    velocity = student.velocity(
        x,
        t,
        kv_cache.repeat_interleave(flows, dim=2),
        sees.repeat_interleave(flows, dim=0),
        (rope_delta + batch.stop + 1).repeat_interleave(flows),
    )
    return {
        "reasoning": reasoning,
        "flow": flow_error(velocity - (action - noise)),
        "seeing": tutor(features, batch.own_situation, batch.own_action),
    }


def flow_error(error: Tensor) -> Tensor:
    """Mean square of a velocity's error (N, 64, 2), of its running sum, of the sum of that, and of its sum over the
    first second.

    Any such norm has the same minimum as the plain one. This one weighs what lasts and what is driven: an acceleration
    that is wrong for 6 s moves the car by metres, one that jitters does not, and of a plan the first half
    second is driven. Each sum is scaled to the size it has for white noise.
    """
    n = error.shape[1]
    once = error.cumsum(dim=1) / (n / 2) ** 0.5
    twice = error.cumsum(dim=1).cumsum(dim=1) / (n**3 / 12) ** 0.5
    soon = error[:, :SOON_STEPS].sum(dim=1) / SOON_STEPS**0.5
    return error.square().mean() + 0.3 * (once.square().mean() + twice.square().mean() + soon.square().mean())


def _times(count: int, random: torch.Generator) -> Tensor:
    """(count,) as in the paper: 0.999 (1 - Beta(1.5, 1)): more of them near the noise.

    Beta(a, 1) is U^(1 / a).
    """
    return 0.999 * (1 - torch.rand(count, generator=random) ** (1 / 1.5))
