"""Work on the GPU that is recorded once and replayed: one launch in the place of hundreds."""

from collections.abc import Callable

import torch
from torch import Tensor


def record(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`work` as a CUDA graph: it reads and writes the tensors at the addresses that it has now, and waits for nothing.

    Its tensors are on the current device.

    Returns:
        What runs it again, on the current stream; what `work` returned is in the same tensor every time.

    Raises:
        RuntimeError: something in it cannot be recorded.
    """
    current = torch.cuda.current_stream()
    aside = torch.cuda.Stream()
    aside.wait_stream(current)
    try:
        with torch.cuda.stream(aside):
            work()  # what is made at the first call, libraries' workspaces for one, cannot be recorded
    finally:
        current.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            result = work()
    finally:
        torch.cuda.set_stream(current)  # torch stays on the recording's if that fails
    held = graph, work  # the graph holds addresses only: what lies there has to live as long as it

    def replay() -> Tensor:
        held[0].replay()
        return result

    return replay
