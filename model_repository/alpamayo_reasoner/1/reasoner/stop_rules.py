"""When thoughts end, kept on the device: the host asks once a token whether there is anything left to do."""

import torch
from torch import Tensor


class StopRules:
    """K thoughts' tokens so far.

    A thought's stop token gets its KV entry, also where it is the last one allowed: there the reference has none. A
    thought ended by the language model's own end token, or by the limit, is incomplete: its last token has none.
    """

    def __init__(self, thoughts: int, max_length: int, stop_token: int, end_token: int, device: torch.device) -> None:
        self._stop_token, self._end_token, self._max_length = stop_token, end_token, max_length
        self._tokens = torch.full((thoughts, max_length), -1, device=device)
        self._complete = torch.zeros(thoughts, dtype=torch.bool, device=device)
        self._running = torch.ones(thoughts, dtype=torch.bool, device=device)

    def take(self, drawn: Tensor, s: int) -> Tensor:
        """Takes token s of every thought, (K,); those of thoughts that have ended are ignored.

        Returns:
            (K,) bool: whose token gets a KV entry.
        """
        self._tokens[:, s] = torch.where(self._running, drawn, -1)
        stopped = self._running & (drawn == self._stop_token)
        self._complete |= stopped
        self._running &= (drawn != self._stop_token) & (drawn != self._end_token)
        return stopped | self._running if s < self._max_length - 1 else stopped

    def left_to_do(self, fed: Tensor) -> tuple[bool, bool]:
        """Whether any token is to be fed, and whether any thought goes on after that. Waits for the device."""
        any_fed, any_running = torch.stack([fed.any(), self._running.any()]).tolist()
        return any_fed, any_running

    def result(self) -> tuple[list[list[int]], list[bool]]:
        """Every thought's tokens, and whether it is complete."""
        return [[token for token in row if token >= 0] for row in self._tokens.tolist()], self._complete.tolist()
