"""What the stages are told: reasoner.json, denoiser.json, unicycle.json, and the KV cache; tritonserver's flags."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from alpamayo_model_repository.contract import MAX_IMAGE_ASPECT

from alpamayo_export import repository as repo
from alpamayo_export.checkpoint import ACTION_STATS, Checkpoint, model_dtype
from alpamayo_export.config import AlpamayoConfig
from alpamayo_export.errors import ExportError
from alpamayo_export.limits import USUAL_ASPECT, KvCache, Limits, max_kv_tokens, tritonserver_flags
from alpamayo_export.vlm import Prompt, build_tokenizer, render_prompt, vlm_shapes

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OFFLOADED = ("embedding", "vision")


@dataclass(frozen=True)
class Target:
    """What the options come to for a checkpoint and a machine; what is written depends on nothing else."""

    precision: str  # fp32, bf16
    denoiser: str  # auto, onnxruntime, torch, tensorrt
    limits: Limits
    offload: tuple[str, ...]
    gpu: bool  # the networks run on one


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


def action_space(checkpoint: Checkpoint) -> dict[str, Any]:
    """The action space's constants; stored ones win, others are rounded to `model_dtype`, as the reference has them.

    Raises ExportError if they make no sense.
    """
    space = dataclasses.asdict(checkpoint.config.action_space)
    del space["n_waypoints"]
    dtype = model_dtype(checkpoint.config)
    for name in ACTION_STATS:
        space[name] = torch.tensor(space[name], dtype=dtype).float().item()
    stored = checkpoint.weights.read(n for n in checkpoint.weights.shard_of if n.startswith("action_space."))
    space |= {name.removeprefix("action_space."): tensor.float().item() for name, tensor in stored.items()}
    if (
        not all(math.isfinite(space[name]) for name in ACTION_STATS)
        or min(space["accel_std"], space["curvature_std"]) <= 0
    ):
        raise ExportError(f"the checkpoint's action_space statistics make no sense: {space}")
    return space
