"""Work on the GPU that is recorded once and replayed: one launch in the place of hundreds."""

from collections.abc import Callable

import torch
from torch import Tensor

Work = Callable[[], Tensor]
Record = Callable[[Work], Work]


class Recorder:
    """Records work, until something in it cannot be recorded."""

    def __init__(self, record: Record | None, what: str, log: Callable[[str], None]) -> None:
        """`record` is the function below, or None where there is no GPU; `log` hears, of `what`, if it fails."""
        self._record, self._what, self._log = record, what, log

    @property
    def works(self) -> bool:
        """Whether there is any use in asking."""
        return self._record is not None

    def __call__(self, work: Work) -> Work | None:
        """The recorded work; None if it is to be run as it is."""
        if self._record is None:
            return None
        try:
            return self._record(work)
        except torch.OutOfMemoryError:  # perhaps not the next time
            return None
        except RuntimeError as error:
            self._record = None
            self._log(f"{self._what} runs without a CUDA graph: {error}")
            return None


def record(work: Work) -> Work:
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
