"""The packed sequence: the prompt's tokens, then the thoughts', in one KV cache in the contract's layout."""

from dataclasses import dataclass
from typing import Any

import torch
from contract import KV_BUCKET, NO_OWNER, PROMPT_OWNER
from torch import Tensor


def bucket(tokens: int) -> int:
    """Rows for so many tokens: KV caches come in few sizes."""
    return -(-tokens // KV_BUCKET) * KV_BUCKET


@dataclass(frozen=True)
class PackedSequence:
    """A KV cache that K thoughts share. Token s of thought i has row P + s K + i, whether or not there is such a token.

    Attributes:
        kv: (layers, 2, kv_heads, T, head_dim); T is a bucket.
        owner: (T,) int32: -1 the prompt's, i thought i's, -2 nobody's.
        prompt: P, its tokens.
        thoughts: K.
    """

    kv: Tensor
    owner: Tensor
    prompt: int
    thoughts: int

    def mask(self, rows: Tensor, owners: Tensor) -> Tensor:
        """(n, T) bool: what tokens in these rows, of these owners (n,), attend to: the prompt, and their owner's."""
        row = torch.arange(len(self.owner), device=self.owner.device)
        return ((self.owner == PROMPT_OWNER) | (self.owner == owners[:, None])) & (row <= rows[:, None])

    def hand_over(self, steps: int) -> tuple[Tensor, Tensor]:
        """The KV cache and its owners after so many tokens of the thoughts, in the smallest bucket that holds them.

        It is this sequence's memory: where that is a larger bucket, rows move together, and the sequence is used up.
        """
        used = self.prompt + steps * self.thoughts
        written = slice(self.prompt, used)
        nobodys = self.owner[written] == NO_OWNER  # thoughts that had ended were computed on
        self.kv[:, :, :, written].masked_fill_(nobodys[:, None], 0)
        layers, two, kv_heads, room, head_dim = self.kv.shape
        tokens = bucket(used)
        if tokens == room:
            return self.kv, self.owner
        # Layer by layer, through a copy of one: a layer's new place ends before the next layer's old one begins.
        size = two * kv_heads * tokens * head_dim
        moved = self.kv.view(-1)[: layers * size].view(layers, size)
        for i, layer in enumerate(self.kv):
            moved[i] = layer[:, :, :tokens].flatten()
        return moved.view(layers, two, kv_heads, tokens, head_dim), self.owner[:tokens]


class KvMemory:
    """Memory for packed sequences, one after the other.

    Attributes:
        recorded: what was recorded as CUDA graphs over this memory; gone when it moves.
    """

    def __init__(
        self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device, stays: bool
    ) -> None:
        """`stays`: sequences come to lie in the same place, over the one before. It grows with the longest."""
        self._shape = layers, 2, kv_heads, head_dim
        self._stays = stays
        self._numbers = torch.empty(0, dtype=dtype, device=device)
        self._owner = torch.empty(0, dtype=torch.int32, device=device)
        self.recorded: dict[Any, Any] = {}

    def place(self, prompt: int, thoughts: int, length: int) -> PackedSequence:
        """A sequence with room for so many tokens of each thought. The prompt's rows are to be filled; others are zero.

        Raises torch.OutOfMemoryError.
        """
        tokens = bucket(prompt + thoughts * length)
        layers, two, kv_heads, head_dim = self._shape
        size = layers * two * kv_heads * tokens * head_dim
        if size > len(self._numbers) or not self._stays:
            self.recorded.clear()
            self._numbers = self._numbers.new_empty(0)  # before there is a larger one: it may not fit beside it
            self._numbers, self._owner = self._numbers.new_empty(size), self._owner.new_empty(tokens)
        kv = self._numbers[:size].view(layers, two, kv_heads, tokens, head_dim)
        kv[:, :, :, prompt:].zero_()
        owner = self._owner[:tokens].fill_(NO_OWNER)
        owner[:prompt] = PROMPT_OWNER
        return PackedSequence(kv, owner, prompt, thoughts)
