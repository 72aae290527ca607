"""The packed sequence: the prompt's tokens, then every thought's, in one KV buffer in the contract's layout."""

from typing import Any

import torch
from contract import NO_OWNER, PROMPT_OWNER
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


class PackedSequence:
    """A KV cache that many thoughts share.

    Attributes:
        kv: (layers, 2, kv_heads, capacity, head_dim); rows not yet written are zero.
        owner: (capacity,) int32: -1 the prompt's, i thought i's, -2 nobody's.
        start, length: the rows of the current forward pass are start .. length - 1.
        cache: the same rows as transformers' models write and read them.
    """

    def __init__(
        self, layers: int, kv_heads: int, capacity: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.kv = torch.zeros(layers, 2, kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self.owner = torch.full((capacity,), NO_OWNER, dtype=torch.int32, device=device)
        self.start = self.length = 0
        self.cache = Cache(layers=[_Layer(self, i) for i in range(layers)])

    def append(self, owner: Tensor) -> None:
        """Makes rows for tokens of these owners (n,); the forward pass that follows fills them."""
        self.start, self.length = self.length, self.length + len(owner)
        self.owner[self.start : self.length] = owner

    def mask(self) -> Tensor:
        """(n, length) bool: what the tokens of the current pass attend to: the prompt, and their owner's up to them."""
        row = torch.arange(self.length, device=self.owner.device)
        key_owner, query_owner = self.owner[: self.length], self.owner[self.start : self.length, None]
        return ((key_owner == PROMPT_OWNER) | (key_owner == query_owner)) & (row <= row[self.start :, None])

    def hand_over(self) -> tuple[Tensor, Tensor]:
        """The rows in use: kv_cache (layers, 2, kv_heads, T, head_dim) and kv_owner (T,)."""
        return self.kv[:, :, :, : self.length].contiguous(), self.owner[: self.length]


class _Layer(CacheLayerMixin):
    """One layer's rows. The sequence has appended them before the forward pass that writes them."""

    is_sliding = False

    def __init__(self, sequence: PackedSequence, index: int) -> None:
        super().__init__()
        self._sequence, self._index = sequence, index

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the buffer is there from the start."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new rows (1, kv_heads, n, head_dim); returns all rows so far."""
        start, end = self._sequence.start, self._sequence.length
        keys, values = self._sequence.kv[self._index]
        keys[:, start:end] = key_states[0]
        values[:, start:end] = value_states[0]
        return keys[None, :, :end], values[None, :, :end]

    def get_seq_length(self) -> int:
        return self._sequence.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._sequence.length, 0

    def get_max_length(self) -> int:
        return self._sequence.kv.shape[3]
