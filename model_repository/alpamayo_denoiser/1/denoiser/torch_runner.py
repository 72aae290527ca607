"""The exported denoising step on torch: slower than ONNX Runtime on a CPU, but there in bf16 too."""

from pathlib import Path

import torch
from torch import Tensor

from denoiser.euler import Velocity
from denoiser.request import DenoiserRequest


class TorchRunner:
    """A runner as `OnnxRunner` is one."""

    def __init__(self, program: Path, device: torch.device) -> None:
        self._step = torch.export.load(program).module().to(device)
        self._device = device
        self.name = f"torch {torch.__version__}, {device.type}"

    def bind(self, request: DenoiserRequest) -> Velocity:
        kv = (request.kv_cache, request.kv_owner, request.action_owner, request.action_position)

        @torch.inference_mode()
        def run(x: Tensor, t: float) -> Tensor:
            return self._step(x, torch.tensor(t, device=self._device), *kv)

        return run
