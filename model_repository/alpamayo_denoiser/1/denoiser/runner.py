"""What runs the exported denoising step, as the three that there are have it in common."""

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

Step = Callable[[], Tensor]
"""Computes the velocity (A, 64, 2) from the bound inputs as they are; it may be in the same tensor every time."""


class Runner(Protocol):
    """Binds the graph's inputs (`graph_inputs.py`), which must be on its device, where they lie: nothing is copied."""

    name: str
    """What it is, and its version."""
    recordable: bool
    """Its work goes to torch's current CUDA stream, and can be recorded as a CUDA graph."""

    def bind(self, inputs: Mapping[str, Tensor], lasting: bool = False) -> Step:
        """The step over these inputs, until others are bound; a lasting one also after that."""
