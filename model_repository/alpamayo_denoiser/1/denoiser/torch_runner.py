"""The exported denoising step on torch: the slowest on a CPU, but there in bf16 too, and wherever torch is."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from denoiser.runner import Step


class TorchRunner:
    """A runner (`runner.py`)."""

    def __init__(self, program: Path, device: torch.device) -> None:
        self._velocity = move_to_device_pass(torch.export.load(program), device).module()
        self.name = f"torch {torch.__version__}, {device.type}"
        self.recordable = device.type == "cuda"

    def bind(self, inputs: Mapping[str, Tensor], lasting: bool = False) -> Step:
        arguments = tuple(inputs.values())

        @torch.inference_mode()
        def run() -> Tensor:
            return self._velocity(*arguments)

        return run
