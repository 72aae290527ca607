"""A checkpoint that has been read: its configs, and weights that are what these make of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpamayo_export.checkpoint_files import Shapes, Weights, check_shapes, check_types, find_source, sha256
from alpamayo_export.config import AlpamayoConfig, read_config
from alpamayo_export.denoiser import DenoisingStep
from alpamayo_export.errors import ExportError
from alpamayo_export.vlm import expert_config, read_vlm_config, vlm_shapes

ACTION_STATS = ("accel_mean", "accel_std", "curvature_mean", "curvature_std")
_SIDE_FILES = (".json", ".jinja", ".txt")  # configs, tokenizer, chat template
_CHECKPOINT_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read and found whole."""

    folder: Path
    name: str
    config: AlpamayoConfig
    vlm_folder: Path
    vlm: Any  # Qwen3VLConfig
    expert: Any  # its text config, as the expert's
    weights: Weights

    def denoiser_weights(self) -> dict[str, Tensor]:
        parts = ("action_in_proj.", "expert.", "action_out_proj.")
        return self.weights.read(name for name in self.weights.shard_of if name.startswith(parts))


def open_checkpoint(name_or_path: str) -> Checkpoint:
    """Reads a checkpoint's configs, and compares its weights' names and shapes with them.

    Args:
        name_or_path: its folder, or OWNER/MODEL[@REVISION] of the Hugging Face hub, which is fetched.

    Raises:
        ExportError: it is not there, not an Alpamayo 1 checkpoint, or its parts do not fit.
    """
    source = find_source(name_or_path, "the checkpoint", _CHECKPOINT_FILES)
    folder = source.folder
    configs = _read_configs(folder)
    weights = Weights.find(folder)
    headers = weights.headers()
    check_types({name: kind for name, (_, kind) in headers.items()})
    needed, optional = _shapes(configs)
    needed = stored(needed, configs[0])
    check_shapes({name: shape for name, (shape, _) in headers.items()}, needed | optional, optional)
    return Checkpoint(folder, source.name, *configs, weights)


def weight_shapes(folder: Path) -> tuple[AlpamayoConfig, Shapes]:
    """The config of a checkpoint's folder, and the shapes of the weights that make up its model.

    Raises:
        ExportError: as open_checkpoint, but for the weights, which need not be there.
    """
    configs = _read_configs(folder)
    return configs[0], _shapes(configs)[0]


def stored(shapes: Shapes, config: AlpamayoConfig) -> dict[str, tuple[int, ...]]:
    """Of the weights that make up the model, those that the checkpoint's files hold."""
    drawn = config.random_vlm_seed is not None
    return {name: shape for name, shape in shapes.items() if not (drawn and name.startswith("vlm."))}


_Configs = tuple[AlpamayoConfig, Path, Any, Any]  # with the vision-language model's folder and config, and the expert's


def _read_configs(folder: Path) -> _Configs:
    config = read_config(folder)
    side_files = [f"*{suffix}" for suffix in _SIDE_FILES]
    vlm_folder = find_source(
        config.vlm_name_or_path, "vlm_name_or_path of its config.json", side_files, relative_to=folder
    ).folder
    vlm = read_vlm_config(vlm_folder, config.vocab_size)
    return config, vlm_folder, vlm, expert_config(vlm, config.expert)


def _shapes(configs: _Configs) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Of the weights that make up the model, and of those that a checkpoint may hold too."""
    config, _, vlm, expert = configs
    with torch.device("meta"):
        step = DenoisingStep(config.action_in_proj, expert)
    needed = {f"vlm.{name}": shape for name, shape in vlm_shapes(vlm).items()}
    needed |= {name: tuple(parameter.shape) for name, parameter in step.named_parameters()}
    optional = {name: tuple(buffer.shape) for name, buffer in step.named_buffers()}
    return needed, optional | {f"action_space.{name}": () for name in ACTION_STATS}


def model_dtype(config: AlpamayoConfig) -> torch.dtype:
    """Raises ExportError if the config names no floating-point type."""
    dtype = getattr(torch, config.model_dtype, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ExportError(f"config.json: model_dtype {config.model_dtype!r} is no floating-point type of torch")
    return dtype


def hashes(checkpoint: Checkpoint) -> dict[str, str]:
    """What tells a checkpoint from every other: of its own files, and of its vision-language model's side files."""
    return {
        "sha256": sha256([checkpoint.folder / name for name in ("config.json", *checkpoint.weights.shards)]),
        "vlm_sha256": sha256(sorted(p for p in checkpoint.vlm_folder.iterdir() if p.suffix in _SIDE_FILES)),
    }
