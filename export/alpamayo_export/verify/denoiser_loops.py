"""The denoiser's loop, as a runner of the repository computes it, and all that it came by."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from cuda_graph import record
from denoiser.euler import denoise
from denoiser.request import DenoiserRequest, DenoiserSettings, check_request
from denoiser.runners import open_runner
from denoiser.velocity import Denoiser
from torch import Tensor
from tqdm import tqdm

from alpamayo_export.verify.differences import relative_error


@dataclass(frozen=True)
class Loop:
    """What a runner computed, on the CPU: its velocities (A, 64, 2), where, and what they came to."""

    request: DenoiserRequest
    states: list[tuple[Tensor, float, Tensor]]  # x, t, velocity
    action: Tensor

    @property
    def error(self) -> float:
        """Of the action, against the sum of the velocities at times 0, 1 / steps, ..."""
        steps = len(self.states)
        if [t for _, t, _ in self.states] != [s / steps for s in range(steps)]:
            return torch.inf
        summed = torch.stack([velocity for _, _, velocity in self.states]).double().sum(dim=0) / steps
        return relative_error(self.action.double(), self.request.noise.double() + summed)


def run(
    name: str,
    folder: Path,
    settings: DenoiserSettings,
    requests: list[tuple[DenoiserRequest, int]],
    device: torch.device,
) -> list[Loop]:
    """Of each request, so many steps, by the runner of that name."""
    settings = replace(settings, runner=name)
    denoiser = Denoiser(open_runner(folder, device, settings, _unheard), settings, record, _unheard)
    return [_loop(denoiser, request, steps, settings, device) for request, steps in tqdm(requests, desc=name, delay=2)]


def _loop(
    denoiser: Denoiser, request: DenoiserRequest, steps: int, settings: DenoiserSettings, device: torch.device
) -> Loop:
    check_request(request, settings)
    there = on_device(request, device)
    velocity, states = denoiser.bind(there), list[tuple[Tensor, float, Tensor]]()

    def watched(x: Tensor, t: float) -> Tensor:
        found = velocity(x, t).clone()
        states.append((x.cpu(), t, found.cpu()))
        return found

    return Loop(request, states, denoise(watched, there.noise, steps).cpu())


def _unheard(message: str) -> None:
    """A runner's log: the table says what ran."""


def on_device(request: DenoiserRequest, device: torch.device) -> DenoiserRequest:
    return DenoiserRequest(**{name: tensor.to(device) for name, tensor in vars(request).items()})
