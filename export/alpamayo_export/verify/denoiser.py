"""The denoiser: its weights bit by bit, and each runner that runs here against the module that was exported.

A loop of ten steps is not compared with another one: of random weights it is chaotic, and tells nothing. Each of its
velocities is compared, at the state where it was computed, and its end with the sum of these.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from denoiser.graph_inputs import graph_inputs
from denoiser.request import DenoiserRequest, DenoiserSettings
from denoiser.tensorrt_engine import tensorrt
from tqdm import tqdm

from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.denoiser import DenoisingStep
from alpamayo_export.denoiser_graph import PROGRAM, weights_in
from alpamayo_export.export import denoising_step
from alpamayo_export.settings import PRECISIONS, Target
from alpamayo_export.verify.denoiser_loops import Loop, on_device, run
from alpamayo_export.verify.differences import differing, relative_error
from alpamayo_export.verify.inputs import random_packed
from alpamayo_export.verify.report import Row
from alpamayo_export.verify.tolerances import EXACT, TOLERANCES

PART = "denoiser"
RUNNERS = ("tensorrt", "onnxruntime", "torch")
STEPS = 10


def verify_denoiser(
    folder: Path, checkpoint: Checkpoint, target: Target, rng: np.random.Generator, device: torch.device
) -> Iterator[Row]:
    """The runners are in memory one after the other, and then the module."""
    tolerances = TOLERANCES[target.precision]
    settings = DenoiserSettings.load(folder)
    requests = _requests(rng, checkpoint, target)
    reasons = {name: _why_not(name, device, target.precision) for name in RUNNERS}
    looped = {name: run(name, folder, settings, requests, device) for name in RUNNERS if not reasons[name]}

    step = denoising_step(checkpoint, target.precision)
    yield Row(f"{PART}: weights that differ", _differing_weights(folder / PROGRAM, step), EXACT)
    step.to(device)
    for name in RUNNERS:
        if name not in looped:
            yield Row(f"{PART} on {name}", None, tolerances.velocity, reasons[name])
            continue
        errors = (_velocity_error(loop, step, settings, checkpoint) for loop in tqdm(looped[name], desc=name, delay=2))
        yield Row(f"{PART} on {name}: velocity", max(errors), tolerances.velocity)
        yield Row(f"{PART} on {name}: loop", max(loop.error for loop in looped[name]), tolerances.loop)


def _requests(rng: np.random.Generator, checkpoint: Checkpoint, target: Target) -> list[tuple[DenoiserRequest, int]]:
    """Of several sizes, one of them for a whole loop; each with its number of steps."""
    text, most = checkpoint.vlm.text_config, target.limits.max_trajectories
    kv_shape = text.num_hidden_layers, text.num_key_value_heads, text.head_dim
    sizes = [
        (1, 1, 1),
        (int(rng.integers(2, 300)), min(5, most), 1),
        (int(rng.integers(300, 600)), min(2, most), STEPS),
    ]
    dtype = PRECISIONS[target.precision]
    return [(random_packed(rng, kv_shape, dtype, tokens, trajectories), steps) for tokens, trajectories, steps in sizes]


def _why_not(runner: str, device: torch.device, precision: str) -> str:
    """Empty: it runs here."""
    import onnxruntime  # here, so that the stage's own import came first, which turns its telemetry off

    if runner == "tensorrt":
        if device.type != "cuda":
            return "it needs a GPU"
        try:
            tensorrt()
        except RuntimeError as error:
            return str(error)
    if runner == "onnxruntime":
        if device.type == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return "this ONNX Runtime has no CUDAExecutionProvider: for a GPU, install onnxruntime-gpu"
        if device.type != "cuda" and precision == "bf16":
            return "it has no bf16 on a CPU"
    return ""


@torch.inference_mode()
def _velocity_error(loop: Loop, step: DenoisingStep, settings: DenoiserSettings, checkpoint: Checkpoint) -> float:
    """The worst of its steps; the module is given what the checkpoint says of heads and RoPE."""
    expert = checkpoint.expert
    exact = replace(
        settings,
        heads=expert.num_attention_heads,
        kv_heads=expert.num_key_value_heads,
        head_dim=expert.head_dim,
        rope_theta=expert.rope_parameters["rope_theta"],
    )
    device = next(step.parameters()).device
    _, _, *fixed = graph_inputs(on_device(loop.request, device), exact).values()
    errors = []
    for x, t, velocity in loop.states:
        wanted = step(x.to(device), torch.tensor(t, device=device), *fixed).cpu()
        errors.append(relative_error(velocity, wanted))
    return max(errors)


def _differing_weights(archive: Path, step: DenoisingStep) -> int:
    """How many tensors are not in the archive as they are in the module, bit by bit; ONNX's graph refers to these."""
    stored, wanted = weights_in(archive), step.state_dict()
    wrong = len(stored.keys() ^ wanted.keys())
    for name in tqdm(stored.keys() & wanted.keys(), desc="comparing weights", delay=2):
        offset, size = stored[name]
        found = torch.from_file(str(archive), shared=False, size=offset + size, dtype=torch.uint8)[offset:]
        wrong += differing(found, wanted[name].contiguous().view(-1).view(torch.uint8)) > 0
    return wrong
