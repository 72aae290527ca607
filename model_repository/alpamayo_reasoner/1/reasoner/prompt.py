"""The prompt's tokens, the ego history's tokens in it, and the text of a thought."""

from collections.abc import Sequence
from pathlib import Path

import torch
from contract import InvalidRequest, shown
from tokenizers import Tokenizer
from torch import Tensor

from reasoner.images import MERGE
from reasoner.settings import ReasonerSettings

COT_START, COT_END = "<|cot_start|>", "<|cot_end|>"
THOUGHT_END = COT_END + "<|traj_future_start|>"


class PromptTokenizer:
    """The checkpoint's tokenizer, and what the prompt is made of, as tokens."""

    def __init__(self, tokenizer_file: Path, settings: ReasonerSettings) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._special = set(self._tokenizer.get_added_tokens_decoder())
        self._settings = settings
        longest = max(map(len, self._tokenizer.get_vocab()))  # in bytes: it is a tokenizer of bytes
        self._most_bytes = settings.max_generation_length * longest
        image_start, image_end = settings.prompt.image.split("<|image_pad|>")
        self._head, self._tail = self._encode(settings.prompt.head), self._encode(settings.prompt.tail)
        self._image_start, self._image_end = self._encode(image_start), self._encode(image_end)
        self._image_pad = self._encode("<|image_pad|>")
        self._thought_end = self._encode(THOUGHT_END)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, image_grid_thw: Tensor, ego_history_xyz: Tensor) -> Tensor:
        """(1, P) token ids, for images (n, 3) in patches and a history (16, 3) in metres."""
        ids = list(self._head)
        for patches in image_grid_thw.prod(dim=1).tolist():
            ids += self._image_start + self._image_pad * (patches // MERGE**2) + self._image_end
        prompt = torch.tensor(ids + self._tail)
        prompt[prompt == self._settings.history_placeholder_token] = history_tokens(ego_history_xyz, self._settings)
        return prompt[None]

    def thought(self, text: str, name: str) -> list[int]:
        """The tokens of a given thought, up to and including the stop token; `name` is for messages.

        Raises:
            InvalidRequest: it is longer than a generated one may be, or holds one of the tokenizer's special tokens.
        """
        size = len(text.encode())
        if size > self._most_bytes:  # tokenizing takes seconds a megabyte
            raise InvalidRequest(
                f"{name} is too long: {size} bytes; this repository was exported for thoughts of at most "
                f"{self._settings.max_generation_length} tokens"
            )
        ids = self._encode(text)
        special = [self._tokenizer.id_to_token(token) for token in ids if token in self._special]
        if special:
            raise InvalidRequest(f"{name} must be plain text; {shown(text)} holds the special tokens {shown(special)}")
        ids += self._thought_end
        if len(ids) > self._settings.max_generation_length:
            raise InvalidRequest(
                f"{name} is too long: {len(ids)} tokens with its end; this repository was exported for thoughts of "
                f"at most {self._settings.max_generation_length}"
            )
        return ids

    def chain_of_causation(self, generated: Sequence[int]) -> str:
        """The thought in the tokens generated after `<|cot_start|>`; empty if it was never ended."""
        text = COT_START + self._tokenizer.decode(list(generated), skip_special_tokens=False)
        before, end, _ = text.partition(COT_END)
        return before.rpartition(COT_START)[2].strip() if end else ""


def history_tokens(ego_history_xyz: Tensor, settings: ReasonerSettings) -> Tensor:
    """(48,) tokens of a history (16, 3) in metres: displacements between poses, each of x, y, z in one of the bins.

    The first displacement is the first position itself: the reference takes it against zero.
    """
    low, high = torch.tensor(settings.history_xyz_min), torch.tensor(settings.history_xyz_max)
    displacement = torch.diff(ego_history_xyz, dim=0, prepend=torch.zeros(1, 3))
    top = settings.history_bins - 1
    bins = ((displacement - low) / (high - low) * top).round().long().clamp(0, top)
    return bins.flatten() + settings.first_history_token
