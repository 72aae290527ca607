"""What runs the exported denoising step: as the repository asks, or the best that there is where it serves."""

from collections.abc import Callable
from pathlib import Path

import torch

from denoiser.onnx_runner import OnnxRunner
from denoiser.request import DenoiserSettings
from denoiser.runner import Runner
from denoiser.tensorrt_engine import Log
from denoiser.tensorrt_runner import TensorRtRunner
from denoiser.torch_runner import TorchRunner


def open_runner(folder: Path, device: torch.device, settings: DenoiserSettings, log: Log = print) -> Runner:
    """The runner that `settings.runner` names; for "auto", the first that runs here.

    Args:
        folder: the model's version, with the graph in it.
        device: where it runs.
        settings: the repository's.
        log: told which it is, and why not those that were tried before.

    Raises:
        RuntimeError: what is wanted cannot run on the device in that precision.
    """
    graph = folder / "denoiser.onnx"
    runners: dict[str, Callable[[], Runner]] = {
        "tensorrt": lambda: TensorRtRunner(graph, device, settings, log),
        "onnxruntime": lambda: OnnxRunner(graph, device, settings.precision),
        "torch": lambda: TorchRunner(folder / "denoiser.pt2", device),
    }
    best = ("tensorrt", "onnxruntime", "torch") if device.type == "cuda" else ("onnxruntime",)
    failed: list[str] = []
    for name in best if settings.runner == "auto" else (settings.runner,):
        try:
            runner = runners[name]()
        except Exception as error:  # ONNX Runtime's and TensorRT's own have no common base but this
            failed.append(f"{name}: {error}")
        else:
            log(f"the denoiser runs on {runner.name}" + "".join(f"; not on {why}" for why in failed))
            return runner
    raise RuntimeError(f"nothing here runs the denoiser: {'; '.join(failed)}")
