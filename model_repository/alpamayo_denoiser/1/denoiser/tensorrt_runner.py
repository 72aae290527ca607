"""The exported denoising step on TensorRT."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoiser.request import DenoiserSettings
from denoiser.runner import Step
from denoiser.tensorrt_engine import Log, open_engine, profile_of, tensorrt


class TensorRtRunner:
    """A runner (`runner.py`)."""

    recordable = True

    def __init__(self, graph: Path, device: torch.device, settings: DenoiserSettings, log: Log) -> None:
        """Raises RuntimeError if there is no GPU or no TensorRT, or if it cannot build or load the engine."""
        if device.type != "cuda":
            raise RuntimeError("TensorRT needs a GPU: export with --denoiser onnxruntime or torch, or serve on one")
        trt = tensorrt()
        major, minor = torch.cuda.get_device_capability(device)
        gpu = f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}"
        self.name = f"{trt.__name__} {trt.__version__}"
        self._device = device
        with torch.cuda.device(device):
            self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
            load = self._runtime.deserialize_cuda_engine
            self._engine = open_engine(trt, graph, profile_of(settings), gpu, load, log)
            self._strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
            self._config = self._runtime_config(trt)
            self._shared = self._context()

    def bind(self, inputs: Mapping[str, Tensor], lasting: bool = False) -> Step:
        context = self._context() if lasting else self._shared
        velocity = torch.empty_like(inputs["x"])
        for name, tensor in inputs.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                raise RuntimeError(f"the engine takes no {name} of shape {tuple(tensor.shape)}")
        for name, tensor in {**inputs, "velocity": velocity}.items():
            if not context.set_tensor_address(name, tensor.data_ptr()):
                raise RuntimeError(f"the engine has no {name}, or takes it elsewhere")
        # For these shapes: for the largest that there may be, it would be far more.
        activations = torch.empty(
            context.update_device_memory_size_for_shapes(), dtype=torch.uint8, device=self._device
        )
        context.set_device_memory(activations.data_ptr(), activations.numel())

        def run() -> Tensor:
            assert inputs  # the context holds addresses only; this function keeps the tensors alive
            assert activations.is_cuda
            if not context.execute_async_v3(torch.cuda.current_stream(self._device).cuda_stream):
                raise RuntimeError(f"{self.name} could not run the denoising step")
            return velocity

        return run

    def _runtime_config(self, trt: Any) -> Any:
        """None for a TensorRT that has no such thing."""
        if not hasattr(self._engine, "create_runtime_config"):
            return None
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._strategy)
        if hasattr(config, "create_runtime_cache"):  # TensorRT for RTX, which compiles kernels where it runs
            self._kernels = config.create_runtime_cache()  # once for all contexts; this keeps it alive
            config.set_runtime_cache(self._kernels)
            # Otherwise what is recorded would be the kernels that stand in while others are compiled.
            config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        return config

    def _context(self) -> Any:
        context = self._engine.create_execution_context(self._strategy if self._config is None else self._config)
        if context is None:
            raise RuntimeError(f"{self.name} makes no execution context")
        return context
