"""One token for each of K thoughts: the step that decoding repeats, on a GPU recorded as a CUDA graph."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from contract import NO_OWNER
from cuda_graph import Record, Recorder
from torch import Tensor

from reasoner.attention import split
from reasoner.language_model import LanguageModel
from reasoner.packed_sequence import KvMemory, PackedSequence

MOST_RECORDINGS = 8  # each keeps room for its intermediate results: some 60 MB at 32 thoughts of the released model


@dataclass(frozen=True)
class _Step:
    """What one step reads; it is written before every step, and stays where it is."""

    hidden: Tensor  # (K, hidden): the tokens' embeddings
    fed: Tensor  # (K,) bool: whose token gets a KV entry
    row: Tensor  # (): the first of the K rows
    position: Tensor  # ()
    run: Callable[[], Tensor]


class Decoder:
    """Decoding steps over packed sequences."""

    def __init__(
        self,
        language_model: LanguageModel,
        head: Callable[[Tensor], Tensor],
        memory: KvMemory,
        record: Record | None,
        log: Callable[[str], None],
    ) -> None:
        """`head` makes logits; `record` is `cuda_graph.record`, or None where there is no GPU; `log` hears if it fails.

        With `record`, `memory` must stay.
        """
        self._language_model, self._head, self._memory = language_model, head, memory
        self._recorder = Recorder(record, "decoding", log)

    def bind(self, sequence: PackedSequence) -> Callable[[Tensor, Tensor, int, int], Tensor]:
        """The step over this sequence.

        Returns:
            (hidden (K, hidden), fed (K,) bool, s, position) to logits (K, vocab): runs token s of every thought, at
            that RoPE position. The KV of those not fed belongs to nobody, and their logits are of no use.
        """
        step = self._recorded(sequence)

        def decode(hidden: Tensor, fed: Tensor, s: int, position: int) -> Tensor:
            step.hidden.copy_(hidden)
            step.fed.copy_(fed)
            step.row.fill_(sequence.prompt + s * sequence.thoughts)
            step.position.fill_(position)
            return step.run()

        return decode

    def _recorded(self, sequence: PackedSequence) -> _Step:
        recorded, key = self._memory.recorded, (len(sequence.owner), sequence.thoughts)
        step = recorded.pop(key, None)
        if step is None:
            step = self._step(sequence)
            run = self._recorder(step.run)
            if run is None:
                return step
            step = replace(step, run=run)
            if len(recorded) == MOST_RECORDINGS:
                recorded.pop(next(iter(recorded)))
        recorded[key] = step  # the latest used is the last
        return step

    def _step(self, sequence: PackedSequence) -> _Step:
        """Valid for all sequences of this size in the same memory."""
        kv, device = sequence.kv, sequence.kv.device
        thoughts = torch.arange(sequence.thoughts, device=device)
        hidden = kv.new_zeros(sequence.thoughts, self._language_model.hidden_size)
        fed = torch.zeros(sequence.thoughts, dtype=torch.bool, device=device)
        row = torch.full((), sequence.prompt, device=device)
        position = torch.zeros((), dtype=torch.long, device=device)

        def run() -> Tensor:
            rows = row + thoughts
            sequence.owner.index_copy_(0, rows, torch.where(fed, thoughts, NO_OWNER).int())
            sees = sequence.mask(rows, thoughts)
            attend = split(torch.zeros(sees.shape, device=device).masked_fill_(~sees, -torch.inf))
            rope = self._language_model.rope(position.expand(3, sequence.thoughts))
            return self._head(self._language_model(hidden, rope, kv, rows, attend))

        return _Step(hidden, fed, row, position, run)
