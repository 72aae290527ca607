"""The denoising step as an ONNX graph, dynamic in KV tokens and trajectories."""

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


def export_step(step: DenoisingStep, layers: int, kv_heads: int, path: Path) -> None:
    """Writes `path` and its weights beside it, as `<path>.data`."""
    dtype = step.action_out_proj.weight.dtype
    trajectories, tokens = 2, 32
    example = (
        torch.zeros(trajectories, WAYPOINTS, 2),
        torch.zeros(()),
        torch.zeros(layers, 2, kv_heads, tokens, step.head_dim, dtype=dtype),
        torch.zeros(tokens, dtype=torch.int32),
        torch.zeros(trajectories, dtype=torch.int32),
        torch.zeros(trajectories, dtype=torch.int32),
    )
    a, t = torch.export.Dim("trajectories", min=1), torch.export.Dim("tokens", min=1)
    dims = ({0: a}, None, {3: t}, {0: t}, {0: a}, {0: a})
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations, and two inputs sharing an axis name
        program = torch.onnx.export(
            step,
            example,
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(INPUTS),
            output_names=["velocity"],
            dynamic_shapes=dims,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with this machine's paths
    program.save(path, external_data=True)
