"""The exported denoising step on ONNX Runtime."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from onnx import TensorProto
from torch import Tensor

from denoiser.runner import Step

# Official builds since 1.29 report to Microsoft, from their import on. What is served here is nobody else's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

_ELEMENT_TYPE = {torch.float32: TensorProto.FLOAT, torch.bfloat16: TensorProto.BFLOAT16}


class OnnxRunner:
    """A runner (`runner.py`)."""

    recordable = False  # it works on a stream of its own

    def __init__(self, model: Path, device: torch.device, precision: str) -> None:
        provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
        if provider == "CPUExecutionProvider" and precision == "bf16":
            raise RuntimeError(
                "ONNX Runtime has no bf16 on a CPU: export with --precision fp32 or --denoiser torch, or serve on a GPU"
            )
        options = ort.SessionOptions()
        # Its threads would spin between requests, on the cores that the reasoner needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Of a GPU: which one, and that float32 is not TF32.
        on_gpu = {"device_id": str(device.index or 0), "use_tf32": "0"}
        settings = on_gpu if device.type == "cuda" else {}
        self._session = ort.InferenceSession(model, options, providers=[(provider, settings)])
        if self._session.get_providers()[0] != provider:  # an absent provider is replaced without an error
            raise RuntimeError(
                f"ONNX Runtime has no {provider}, only {', '.join(ort.get_available_providers())}; "
                "for a GPU, install onnxruntime-gpu in the place of onnxruntime"
            )
        self.name = f"onnxruntime {ort.__version__}, {provider}"
        self._device = device

    def bind(self, inputs: Mapping[str, Tensor], lasting: bool = False) -> Step:
        binding = self._session.io_binding()
        velocity = torch.empty_like(inputs["x"])
        for name, tensor in inputs.items():
            binding.bind_input(name, *self._place(tensor))
        binding.bind_output("velocity", *self._place(velocity))

        def run() -> Tensor:
            assert inputs  # the binding holds addresses only; this function keeps the tensors alive
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return velocity

        return run

    def _place(self, tensor: Tensor) -> tuple[str, int, int, tuple[int, ...], int]:
        element_type = _ELEMENT_TYPE[tensor.dtype]
        return self._device.type, self._device.index or 0, element_type, tuple(tensor.shape), tensor.data_ptr()
