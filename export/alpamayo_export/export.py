"""From a checkpoint to a model repository."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from alpamayo_model_repository.contract import MAX_IMAGE_ASPECT
from torch import Tensor

from alpamayo_export import repository as repo
from alpamayo_export.checkpoint import Shapes, Weights, check_shapes, check_types, find_source, sha256
from alpamayo_export.config import AlpamayoConfig, read_config
from alpamayo_export.denoiser import DenoisingStep
from alpamayo_export.denoiser_graph import load_step, write_graphs
from alpamayo_export.errors import ExportError
from alpamayo_export.limits import USUAL_ASPECT, KvCache, Limits, max_kv_tokens, tritonserver_flags
from alpamayo_export.progress import say
from alpamayo_export.vlm import Prompt, build_tokenizer, expert_config, read_vlm_config, render_prompt, vlm_shapes

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OFFLOADED = ("embedding", "vision")
DENOISERS = ("auto", "tensorrt", "onnxruntime", "torch")
_SIDE_FILES = (".json", ".jinja", ".txt")  # configs, tokenizer, chat template
_CHECKPOINT_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
_ACTION_STATS = ("accel_mean", "accel_std", "curvature_mean", "curvature_std")

Check = Callable[[Path], None]


@dataclass(frozen=True)
class Options:
    precision: str  # auto, fp32, bf16
    denoiser: str  # auto, onnxruntime, torch, tensorrt
    limits: Limits
    offload: tuple[str, ...] = ()  # of the reasoner, what stays in host memory if it runs on a GPU: embedding, vision


@dataclass(frozen=True)
class Target:
    """What the options come to for a checkpoint and a machine; what is written depends on nothing else."""

    precision: str  # fp32, bf16
    denoiser: str  # as in Options
    limits: Limits
    offload: tuple[str, ...]
    gpu: bool  # the networks run on one


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
    return needed, optional | {f"action_space.{name}": () for name in _ACTION_STATS}


def export(checkpoint: Checkpoint, output: Path, options: Options, check: Check = lambda repository: None) -> None:
    """Writes the model repository `output`: all of it, or nothing.

    Args:
        checkpoint: what is exported.
        output: a repository there is replaced.
        options: how.
        check: called with the folder of the complete repository before it becomes `output`. What it raises passes
            through, and `output` stays as it was.

    Raises:
        ExportError: the options cannot be met, or `output` is something else already.
    """
    target = _target(checkpoint, options)
    with repo.replacing(output) as repository:
        text_tokens = write_settings(checkpoint, repository, target)
        _write_networks(checkpoint, repository, target)
        write_flags(checkpoint, repository, target, text_tokens, repo.network_bytes(repository))
        repo.record_files(repository)
        say("hashing the checkpoint")
        repo.write_manifest(repository, _manifest(checkpoint, target))
        check(repository)


def _target(checkpoint: Checkpoint, options: Options) -> Target:
    denoiser = options.denoiser
    if denoiser not in DENOISERS:
        raise ExportError(f"--denoiser {denoiser}: known are {', '.join(DENOISERS)}")
    if "embedding" in options.offload and checkpoint.vlm.tie_word_embeddings:
        raise ExportError(
            "--offload embedding: this checkpoint's output layer is its embedding table, which a GPU needs whole: "
            "nothing would be saved"
        )
    # TensorRT, and bf16 on ONNX Runtime, want a GPU: such a repository is for another machine, if there is none here.
    gpu = torch.cuda.is_available() or denoiser == "tensorrt"
    gpu = gpu or (options.precision == "bf16" and denoiser != "torch")
    precision = ("bf16" if gpu else "fp32") if options.precision == "auto" else options.precision
    if denoiser == "auto" and not gpu:
        denoiser = "onnxruntime"
    return Target(precision, denoiser, options.limits, options.offload, gpu)


def write_settings(checkpoint: Checkpoint, repository: Path, target: Target) -> int:
    """All of a repository but the networks, the flags and the manifest.

    Returns how many of the prompt's tokens belong to no image.
    """
    repo.copy_tree(repository)
    tokenizer = build_tokenizer(checkpoint.vlm_folder, checkpoint.config)
    prompt = render_prompt(tokenizer)
    text_tokens = len(tokenizer(prompt.head + prompt.tail, add_special_tokens=False).input_ids)
    kv = _kv_cache(checkpoint, target, text_tokens)
    folder = repository / repo.REASONER / "1"
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(pretty=True), encoding="utf-8")
    checkpoint.vlm.save_pretrained(folder)
    repo.write_json(folder / "reasoner.json", _reasoner_settings(checkpoint.config, prompt, target))
    repo.write_json(repository / repo.DENOISER / "1" / "denoiser.json", _denoiser_settings(checkpoint, kv, target))
    unicycle = {**action_space(checkpoint), "max_trajectories": target.limits.max_trajectories}
    repo.write_json(repository / repo.UNICYCLE / "1" / "unicycle.json", unicycle)
    repo.set_kv_cache(repository, kv)
    if target.gpu:
        repo.put_on_gpu(repository)
    return text_tokens


def _write_networks(checkpoint: Checkpoint, repository: Path, target: Target) -> None:
    if checkpoint.config.random_vlm_seed is None:
        say("splitting off the reasoner's weights")
        repo.write_reasoner_weights(checkpoint.weights, repository / repo.REASONER / "1")
    say("reading the denoiser's weights")
    write_graphs(denoising_step(checkpoint, target.precision), checkpoint.expert, repository / repo.DENOISER / "1")


def denoising_step(checkpoint: Checkpoint, precision: str) -> DenoisingStep:
    """The module that is exported, with the checkpoint's weights."""
    config = checkpoint.config
    weights, dtype = checkpoint.denoiser_weights(), PRECISIONS[precision]
    return load_step(config.action_in_proj, checkpoint.expert, weights, dtype, model_dtype(config))


def write_flags(checkpoint: Checkpoint, repository: Path, target: Target, text_tokens: int, network_bytes: int) -> None:
    """Of a prompt with so many tokens that belong to no image, and networks whose files have so many bytes."""
    if checkpoint.config.random_vlm_seed is not None:
        drawn = sum(math.prod(shape) for shape in vlm_shapes(checkpoint.vlm).values())
        network_bytes += drawn * PRECISIONS[target.precision].itemsize
    # 16 slivers of 200 : 1 would make a prompt twice as long; a pool for them would be memory that no one uses.
    usual_kv = _kv_cache(checkpoint, target, text_tokens, USUAL_ASPECT)
    flags = tritonserver_flags(network_bytes, usual_kv.max_bytes, target.gpu)
    (repository / repo.FLAGS).write_text("\n".join(flags) + "\n")


def _kv_cache(checkpoint: Checkpoint, target: Target, text_tokens: int, aspect: float = MAX_IMAGE_ASPECT) -> KvCache:
    text, config = checkpoint.vlm.text_config, checkpoint.config
    tokens = max_kv_tokens(target.limits, text_tokens, config.min_pixels, config.max_pixels, aspect)
    return KvCache(text.num_hidden_layers, text.num_key_value_heads, text.head_dim, tokens, target.precision)


def _manifest(checkpoint: Checkpoint, target: Target) -> dict[str, Any]:
    return {
        "checkpoint": {
            "name": checkpoint.name,
            "vlm_name_or_path": checkpoint.config.vlm_name_or_path,
            **hashes(checkpoint),
        },
        "precision": target.precision,
        "denoiser": target.denoiser,
        "limits": dataclasses.asdict(target.limits),
        "versions": repo.versions(),
    }


def hashes(checkpoint: Checkpoint) -> dict[str, str]:
    """What tells a checkpoint from every other: of its own files, and of its vision-language model's side files."""
    return {
        "sha256": sha256([checkpoint.folder / name for name in ("config.json", *checkpoint.weights.shards)]),
        "vlm_sha256": sha256(sorted(p for p in checkpoint.vlm_folder.iterdir() if p.suffix in _SIDE_FILES)),
    }


def _denoiser_settings(checkpoint: Checkpoint, kv: KvCache, target: Target) -> dict[str, Any]:
    return {
        "runner": target.denoiser,
        "precision": kv.precision,
        "layers": kv.layers,
        "heads": checkpoint.expert.num_attention_heads,
        "kv_heads": kv.kv_heads,
        "head_dim": kv.head_dim,
        "rope_theta": checkpoint.expert.rope_parameters["rope_theta"],
        "max_kv_tokens": kv.max_tokens,
        "max_trajectories": target.limits.max_trajectories,
    }


def model_dtype(config: AlpamayoConfig) -> torch.dtype:
    """Raises ExportError if the config names no floating-point type."""
    dtype = getattr(torch, config.model_dtype, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ExportError(f"config.json: model_dtype {config.model_dtype!r} is no floating-point type of torch")
    return dtype


def action_space(checkpoint: Checkpoint) -> dict[str, Any]:
    """The action space's constants; stored ones win, others are rounded to `model_dtype`, as the reference has them.

    Raises ExportError if they make no sense.
    """
    space = dataclasses.asdict(checkpoint.config.action_space)
    del space["n_waypoints"]
    dtype = model_dtype(checkpoint.config)
    for name in _ACTION_STATS:
        space[name] = torch.tensor(space[name], dtype=dtype).float().item()
    stored = checkpoint.weights.read(n for n in checkpoint.weights.shard_of if n.startswith("action_space."))
    space |= {name.removeprefix("action_space."): tensor.float().item() for name, tensor in stored.items()}
    if (
        not all(math.isfinite(space[name]) for name in _ACTION_STATS)
        or min(space["accel_std"], space["curvature_std"]) <= 0
    ):
        raise ExportError(f"the checkpoint's action_space statistics make no sense: {space}")
    return space


def _reasoner_settings(config: AlpamayoConfig, prompt: Prompt, target: Target) -> dict[str, Any]:
    history = config.history_tokenizer
    return {
        "precision": target.precision,
        "offload": list(target.offload),
        "random_seed": config.random_vlm_seed,
        **dataclasses.asdict(target.limits),
        "min_pixels": config.min_pixels,
        "max_pixels": config.max_pixels,
        "prompt": dataclasses.asdict(prompt),
        "stop_token": config.traj_token_ids["future_start"],
        "history_placeholder_token": config.traj_token_ids["history"],
        "first_history_token": config.traj_token_start_idx + config.future_bins,
        "history_bins": history.num_bins,
        "history_xyz_min": history.ego_xyz_min,
        "history_xyz_max": history.ego_xyz_max,
        "first_trajectory_token": config.traj_token_start_idx,
        "trajectory_tokens": config.traj_vocab_size,
    }
