"""The denoising step as a graph, ONNX's and torch's own over one set of weights; dynamic in tokens and trajectories."""

import io
import json
import logging
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import onnx_ir
import torch
from alpamayo_model_repository.contract import WAYPOINTS
from torch import Tensor
from torch.export import Dim, ExportedProgram

from alpamayo_export.config import ActionInProjConfig
from alpamayo_export.denoiser import ActionInProj, DenoisingStep
from alpamayo_export.progress import say

GRAPH, PROGRAM = "denoiser.onnx", "denoiser.pt2"
_OPSET = 20


def load_step(
    action_in_proj: ActionInProjConfig,
    text: Any,
    weights: dict[str, Tensor],
    dtype: torch.dtype,
    model_dtype: torch.dtype,
) -> DenoisingStep:
    """The step with the checkpoint's weights; the expert's matrices are in `dtype`.

    Buffers that the checkpoint does not store are made from its config, rounded to `model_dtype`: the reference builds
    them under that default type.
    """
    with torch.device("meta"):  # its parameters are to be the checkpoint's: no memory for others
        step = DenoisingStep(action_in_proj, text)
    projection = ActionInProj(action_in_proj, text.hidden_size)  # all buffers are there
    made = {f"action_in_proj.{name}": buffer.to(model_dtype) for name, buffer in projection.named_buffers()}
    state = {
        name: x.to(dtype) if name.startswith("expert.") and x.ndim == 2 else x.float()
        for name, x in {**made, **weights}.items()
    }
    step.load_state_dict(state, strict=True, assign=True)
    return step.eval().requires_grad_(False)


def trace(step: DenoisingStep, text: Any) -> ExportedProgram:
    """The step as a graph; `text` is the expert's config."""
    group, head_dim = text.num_attention_heads // text.num_key_value_heads, text.head_dim
    trajectories, tokens = Dim("trajectories", min=1), Dim("tokens", min=1)
    rows = WAYPOINTS * trajectories
    a, t, n = 2, 32, 2 * WAYPOINTS  # to trace with
    dtype = step.get_parameter("expert.layers.0.self_attn.q_proj.weight").dtype
    inputs = {
        "x": (torch.zeros(a, WAYPOINTS, 2), {0: trajectories}),
        "t": (torch.zeros(()), None),
        "kv_cache": (
            torch.zeros(text.num_hidden_layers, 2, text.num_key_value_heads, t, head_dim, dtype=dtype),
            {3: tokens},
        ),
        "kv_mask": (torch.zeros(group * n, t, dtype=dtype), {0: group * rows, 1: tokens}),
        "action_mask": (torch.zeros(group * n, n, dtype=dtype), {0: group * rows, 1: rows}),
        "cos": (torch.zeros(n, head_dim), {0: rows}),
        "sin": (torch.zeros(n, head_dim), {0: rows}),
    }
    return torch.export.export(
        step,
        tuple(example for example, _ in inputs.values()),
        dynamic_shapes=tuple(dynamic for _, dynamic in inputs.values()),
        prefer_deferred_runtime_asserts_over_guards=True,  # it cannot prove min(16, 2048 A) = 16 for itself
    )


def write_graphs(step: DenoisingStep, text: Any, folder: Path) -> None:
    """Writes `denoiser.pt2`, the graph as torch keeps it, with weights; and `denoiser.onnx`, which refers to these."""
    say("tracing the denoiser's graph")
    program = trace(step, text)
    program.example_inputs = None  # they would be a pickle in the file
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # this machine's paths
        node.meta.pop("nn_module_stack", None)
    archive = folder / PROGRAM
    say(f"writing {PROGRAM}, the denoiser's graph and weights")
    with _ProgramFile(archive, "w") as file:
        torch.export.save(program, file)
    if file.error is not None:
        raise file.error
    say(f"translating the denoiser's graph to {GRAPH}")
    _write_onnx(program, folder / GRAPH, weights_in(archive))


class _ProgramFile(io.FileIO):
    """A file whose write() does not fail: torch aborts the process then, on a full disk for one. `error` has why."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Of what comes after an error, nothing."""
        left = memoryview(data)
        try:
            while left and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, self.name)
        return len(data)


def _write_onnx(program: ExportedProgram, path: Path, weights: dict[str, tuple[int, int]]) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        exported = torch.onnx.export(
            program, (), dynamo=True, opset_version=_OPSET, output_names=["velocity"], verbose=False
        )
    assert exported is not None
    graph = exported.model.graph
    for node in graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with this machine's paths
    for name, value in graph.initializers.items():
        if name in weights:
            assert value.dtype is not None
            assert value.shape is not None
            offset, size = weights[name]
            value.const_value = onnx_ir.ExternalTensor(
                PROGRAM, offset, size, value.dtype, name=name, shape=value.shape, base_dir=path.parent
            )
    onnx_ir.save(exported.model, path)


def weights_in(archive: Path) -> dict[str, tuple[int, int]]:
    """Where each weight's bytes begin in torch's archive, a zip of files that are not compressed, and how many."""
    with zipfile.ZipFile(archive) as opened, archive.open("rb") as raw:
        (table,) = (name for name in opened.namelist() if name.endswith("/model_weights_config.json"))
        config = json.loads(opened.read(table))["config"]
        found = {}
        for name, weight in config.items():
            info = opened.getinfo(f"{table.rpartition('/')[0]}/{weight['path_name']}")
            assert info.compress_type == zipfile.ZIP_STORED
            raw.seek(info.header_offset + 26)  # in the file's own header: the lengths of what follows it
            name_length, extra_length = struct.unpack("<HH", raw.read(4))
            found[name] = info.header_offset + 30 + name_length + extra_length, info.file_size
    return found
