"""The flow's velocity for one request: the graph's inputs, the runner, and on a GPU a recording of both."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from cuda_graph import Record, Recorder
from torch import Tensor

from denoiser.euler import Velocity
from denoiser.graph_inputs import graph_inputs
from denoiser.request import DenoiserRequest, DenoiserSettings
from denoiser.runner import Runner, Step

Key = tuple[int, torch.Size, torch.Size]
MOST_RECORDINGS = 4  # each has its own memory for intermediate results


@dataclass(frozen=True)
class _Bound:
    inputs: dict[str, Tensor]
    step: Step


class Denoiser:
    """Binds requests to a runner, one at a time.

    A step is recorded as a CUDA graph when it is asked for the second time: as many tokens and trajectories, and the KV
    cache at the same address, for it is read where it lies. The latest few recordings are kept.
    """

    def __init__(self, runner: Runner, settings: DenoiserSettings, record: Record, log: Callable[[str], None]) -> None:
        """`record` is `cuda_graph.record`; `log` is told if it fails."""
        self.runner, self._settings = runner, settings
        self._recorder = Recorder(record if runner.recordable else None, "the denoising step", log)
        self._seen: dict[Key, _Bound | None] = {}  # the latest last; None: seen once

    def bind(self, request: DenoiserRequest, recurs: bool = True) -> Velocity:
        """The velocity at (x, t); it holds until the next request is bound.

        Args:
            request: with its tensors on the runner's device.
            recurs: its KV cache lies where a later one may lie too, as in Triton's pool. A recording keeps that memory.
        """
        inputs = graph_inputs(request, self._settings)
        recording = self._recorded(inputs) if recurs else None
        bound = recording or _Bound(inputs, self.runner.bind(inputs))
        return _paced(bound.step, bound.inputs["x"], bound.inputs["t"])

    def _recorded(self, inputs: dict[str, Tensor]) -> _Bound | None:
        if not self._recorder.works:
            return None
        kv_cache = inputs["kv_cache"]
        key = kv_cache.data_ptr(), kv_cache.shape, inputs["x"].shape
        if key not in self._seen:
            self._seen[key] = None
            if len(self._seen) > MOST_RECORDINGS:
                self._seen.pop(next(iter(self._seen)))
            return None
        recording = self._seen.pop(key)
        if recording is None:
            step = self._recorder(self.runner.bind(inputs, lasting=True))
            if step is None:
                return None
            recording = _Bound(inputs, step)
        self._seen[key] = recording
        for name, tensor in recording.inputs.items():
            if name != "kv_cache":  # the same memory
                tensor.copy_(inputs[name])
        return recording


def _paced(step: Step, x_input: Tensor, t_input: Tensor) -> Velocity:
    """On a GPU, the host stays a step ahead and no more: a deadline is to be noticed before all steps are under way."""
    under_way: deque[torch.cuda.Event] = deque()

    def run(x: Tensor, t: float) -> Tensor:
        x_input.copy_(x)
        t_input.fill_(t)
        velocity = step()
        if velocity.is_cuda:
            under_way.append(torch.cuda.current_stream(velocity.device).record_event())
            if len(under_way) > 1:
                under_way.popleft().synchronize()
        return velocity

    return run
