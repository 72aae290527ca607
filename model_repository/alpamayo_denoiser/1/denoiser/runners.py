"""What runs the exported denoising step: the repository says, by the file that it holds."""

from pathlib import Path
from typing import Protocol

import torch

from denoiser.euler import Velocity
from denoiser.onnx_runner import OnnxRunner
from denoiser.request import DenoiserRequest
from denoiser.torch_runner import TorchRunner


class Runner(Protocol):
    """Binds a request's tensors once, and gives the flow's velocity back as a function of (x, t).

    The tensors must be on the runner's device.
    """

    def bind(self, request: DenoiserRequest) -> Velocity: ...


def open_runner(folder: Path, device: torch.device, precision: str) -> Runner:
    """Raises RuntimeError if what is there cannot run on the device in that precision."""
    program = folder / "denoiser.pt2"
    return TorchRunner(program, device) if program.exists() else OnnxRunner(folder / "denoiser.onnx", device, precision)
