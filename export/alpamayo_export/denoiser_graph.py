"""The denoising step as a graph, ONNX's or torch's own, dynamic in KV tokens and trajectories."""

import logging
import warnings
from pathlib import Path

import torch
from alpamayo_model_repository.contract import WAYPOINTS
from torch import Tensor

from alpamayo_export.config import ActionInProjConfig
from alpamayo_export.denoiser import DenoisingStep

INPUTS = ("x", "t", "kv_cache", "kv_owner", "action_owner", "action_position")
_OPSET = 20
_A, _T = torch.export.Dim("trajectories", min=1), torch.export.Dim("tokens", min=1)
_DYNAMIC = ({0: _A}, None, {3: _T}, {0: _T}, {0: _A}, {0: _A})  # of INPUTS


def load_step(
    action_in_proj: ActionInProjConfig,
    text: object,
    weights: dict[str, Tensor],
    dtype: torch.dtype,
    model_dtype: torch.dtype,
) -> DenoisingStep:
    """The step with the checkpoint's weights in `dtype`.

    Buffers stay in float32. Those that the checkpoint does not store are made from its config, rounded to
    `model_dtype`: the reference builds them under that default type.
    """
    step = DenoisingStep(action_in_proj, text)
    buffers = dict(step.named_buffers())
    made = {name: buffer.to(model_dtype) for name, buffer in buffers.items()}
    state = {name: x.float() if name in buffers else x.to(dtype) for name, x in {**made, **weights}.items()}
    step.load_state_dict(state, strict=True, assign=True)
    return step.eval().requires_grad_(False)


def write_onnx(step: DenoisingStep, layers: int, kv_heads: int, path: Path) -> None:
    """Writes the graph to `path` and its weights beside it, as `<path>.data`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations, and two inputs sharing an axis name
        program = torch.onnx.export(
            step,
            _example(step, layers, kv_heads),
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(INPUTS),
            output_names=["velocity"],
            dynamic_shapes=_DYNAMIC,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with this machine's paths
    program.save(path, external_data=True)


def write_torch(step: DenoisingStep, layers: int, kv_heads: int, path: Path) -> None:
    """Writes the graph and its weights to `path`, as torch.export keeps them."""
    program = torch.export.export(
        step,
        _example(step, layers, kv_heads),
        dynamic_shapes=_DYNAMIC,
        prefer_deferred_runtime_asserts_over_guards=True,  # it cannot prove min(16, 2048 A) = 16 for itself
    )
    program.example_inputs = None  # they would be a pickle in the file
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # this machine's paths
        node.meta.pop("nn_module_stack", None)
    torch.export.save(program, path)


def _example(step: DenoisingStep, layers: int, kv_heads: int) -> tuple[Tensor, ...]:
    """Inputs to trace the step with."""
    trajectories, tokens = 2, 32
    return (
        torch.zeros(trajectories, WAYPOINTS, 2),
        torch.zeros(()),
        torch.zeros(layers, 2, kv_heads, tokens, step.head_dim, dtype=step.action_out_proj.weight.dtype),
        torch.zeros(tokens, dtype=torch.int32),
        torch.zeros(trajectories, dtype=torch.int32),
        torch.zeros(trajectories, dtype=torch.int32),
    )
