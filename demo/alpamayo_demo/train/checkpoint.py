"""A checkpoint in the released layout, small: its configs, its tokenizer, its weights."""

import json
from pathlib import Path
from typing import Any

from alpamayo_export.vlm import IMAGE, SYSTEM, TASK
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig

from alpamayo_demo.road.cameras import HEIGHT_PX, WIDTH_PX
from alpamayo_demo.road.scenes import WAYPOINTS
from alpamayo_demo.road.situations import Situation

MAX_BYTES = 12_000_000
HISTORY_BINS, FUTURE_BINS = 500, 4  # the action expert draws the future; its tokens are there, and never used
# Qwen's own special tokens, in Qwen's order.
_QWEN_TOKENS = """
    endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end
    vision_start vision_end vision_pad image_pad video_pad
""".split()
_ADDED_TOKENS = 28  # the reference's special tokens, after the trajectory tokens
_TRAJ_TOKENS = {"history_start": 5, "history_end": 7, "future_start": 12, "future_end": 14, "history": 15, "future": 16}
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
    + IMAGE
    + "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)


def write_configs(folder: Path) -> None:
    """Everything of the checkpoint but its weights."""
    vlm = folder / "vlm"
    vlm.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(vlm)
    _vlm_config(tokenizer).save_pretrained(vlm)
    (folder / "config.json").write_text(json.dumps(_config(len(tokenizer)), indent=2) + "\n")


def write_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """`weights`: by the released names, float32."""
    plain = {name: tensor.detach().float().contiguous() for name, tensor in weights.items()}
    file, partial = folder / "model.safetensors", folder / "model.partial"
    save_file(plain, partial)
    partial.chmod(0o644)  # as all files of a repository
    partial.rename(file)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"{folder} has {size} bytes; the repository holds checkpoints of at most {MAX_BYTES}")


def _tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and the words of the prompt and of the grammar, a token each."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    texts = [SYSTEM, TASK, "system\n", "user\n", "assistant\n", *(situation.value for situation in Situation)]
    tokenizer.train_from_iterator(texts, trainer)
    tokens = [f"<|{name}|>" for name in _QWEN_TOKENS]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.add_special_tokens({"additional_special_tokens": tokens})
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def _vlm_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    def token(name: str) -> Any:
        return tokenizer.convert_tokens_to_ids(f"<|{name}|>")

    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [8, 4, 4],
            "mrope_interleaved": True,
        },
        "eos_token_id": token("im_end"),
        "bos_token_id": token("endoftext"),
        "dtype": "float32",
    }
    vision = {
        "depth": 5,
        "hidden_size": 96,
        "num_heads": 3,
        "intermediate_size": 288,
        "out_hidden_size": 128,
        "deepstack_visual_indexes": [1, 3],
        "num_position_embeddings": 256,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("image_pad"),
        video_token_id=token("video_pad"),
        vision_start_token_id=token("vision_start"),
        vision_end_token_id=token("vision_end"),
        tie_word_embeddings=False,
    )


def _config(text_tokens: int) -> dict[str, Any]:
    package = "alpamayo_r1"
    action_space = {
        "_target_": f"{package}.action_space.UnicycleAccelCurvatureActionSpace",
        "accel_mean": -0.15,
        "accel_std": 0.85,
        "curvature_mean": 0.0,
        "curvature_std": 0.006,
        "accel_bounds": [-9.8, 9.8],
        "curvature_bounds": [-0.33, 0.33],
        "dt": 0.1,
        "n_waypoints": WAYPOINTS,
        "v_lambda": 1e-6,
        "v_ridge": 1e-4,
    }
    trajectory_tokens = FUTURE_BINS + HISTORY_BINS
    first_added = text_tokens + trajectory_tokens
    return {
        "model_type": "alpamayo_r1",
        "architectures": ["AlpamayoR1"],
        "vlm_backend": "qwenvl3",
        "vlm_name_or_path": "vlm",
        "model_dtype": "float32",
        "dtype": "float32",
        "attn_implementation": "sdpa",
        "add_special_tokens": True,
        "expert_non_causal_attention": True,
        "keep_same_dtype": True,
        "min_pixels": HEIGHT_PX * WIDTH_PX,
        "max_pixels": HEIGHT_PX * WIDTH_PX,
        "tokens_per_history_traj": 48,
        "tokens_per_future_traj": 128,
        "vocab_size": first_added + _ADDED_TOKENS,
        "traj_vocab_size": trajectory_tokens,
        "traj_token_start_idx": text_tokens,
        "traj_token_ids": {name: first_added + offset for name, offset in _TRAJ_TOKENS.items()},
        "expert_cfg": {"hidden_size": 96, "intermediate_size": 288, "num_attention_heads": 4, "head_dim": 32},
        "action_in_proj_cfg": {
            "_target_": f"{package}.models.action_in_proj.PerWaypointActionInProjV2",
            "hidden_size": 96,
            "max_freq": 0.1,  # from 1 down: normalised actions are a few units wide, and shorter waves hide the value
            "num_enc_layers": 2,
            "num_fourier_feats": 20,
        },
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "action_space_cfg": action_space,
        "diffusion_cfg": {
            "_target_": f"{package}.diffusion.flow_matching.FlowMatching",
            "int_method": "euler",
            "x_dims": "???",
        },
        "hist_traj_tokenizer_cfg": {
            "_target_": f"{package}.models.delta_tokenizer.DeltaTrajectoryTokenizer",
            "ego_xyz_min": [-2, -2, -2],
            "ego_xyz_max": [2, 2, 2],
            "num_bins": HISTORY_BINS,
            "predict_yaw": False,
        },
        "traj_tokenizer_cfg": {
            "_target_": f"{package}.action_space.discrete_action_space.DiscreteTrajectoryTokenizer",
            "action_space_cfg": action_space,
            "dims_min": [-10.0, -10.0],
            "dims_max": [10.0, 10.0],
            "num_bins": FUTURE_BINS,
        },
    }
