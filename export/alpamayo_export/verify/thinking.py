"""What a scene's forced thoughts come to."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Thinking:
    """Everything on the CPU, in float32; a list holds one entry for each thought.

    Attributes:
        prompt_kv: (layers x 2 x kv_heads, P, head_dim).
        thought_kv: of each thought's own tokens, likewise.
        logits: (tokens, vocab): what each token is drawn from.
        ends: the RoPE position after the stop token of each; -1: it did not end.
    """

    prompt_kv: Tensor
    thought_kv: list[Tensor]
    logits: list[Tensor]
    ends: list[int]


def flat(kv: Tensor) -> Tensor:
    """(layers, 2, kv_heads, T, head_dim) to (layers x 2 x kv_heads, T, head_dim), float32, on the CPU."""
    return kv.flatten(0, 2).float().cpu()
