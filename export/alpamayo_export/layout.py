"""The released checkpoint's layout, written from nothing: its `config.json`, and what `vlm_name_or_path` stands for.

For checkpoints that are made here: the demo's, and random ones to measure with. They need nothing of Qwen's.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpamayo_model_repository.contract import HISTORY_POSES, WAYPOINTS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig

from alpamayo_export.vlm import IMAGE, SYSTEM, TASK

# Qwen's own special tokens, in Qwen's order, and those that a small checkpoint has.
QWEN_TOKENS = """
    <|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>
    <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>
    <tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>
    <tool_response> </tool_response> <think> </think>
""".split()
SMALL_TOKENS = """
    <|im_end|> <|endoftext|> <|im_start|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>
    <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>
""".split()
_ADDED_TOKENS = 28  # the reference's special tokens, after the trajectory tokens
_TRAJ_TOKENS = {"history_start": 5, "history_end": 7, "future_start": 12, "future_end": 14, "history": 15, "future": 16}
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
    + IMAGE
    + "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)
_PACKAGE = "alpamayo_r1"


@dataclass(frozen=True)
class Sizes:
    """What checkpoints of the same layout differ in. The dictionaries hold keys of the released `config.json`."""

    text: dict[str, Any]
    """Of Qwen3-VL's text config."""
    vision: dict[str, Any]
    """Of its vision config."""
    expert: dict[str, Any]
    """`expert_cfg`."""
    action_in_proj: dict[str, Any]
    action_space: dict[str, Any]
    history_xyz_m: tuple[float, float, float]
    """The largest displacement between two poses, to either side."""
    history_bins: int
    future_bins: int
    pixels: tuple[int, int]
    """`min_pixels`, `max_pixels`."""
    dtype: str


def write_layout(folder: Path, sizes: Sizes, tokenizer: PreTrainedTokenizerFast) -> None:
    """Everything of a checkpoint but its weights; `config.json` comes last."""
    vlm = folder / "vlm"
    vlm.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(vlm)
    _vlm_config(sizes, tokenizer).save_pretrained(vlm)
    (folder / "config.json").write_text(json.dumps(_config(sizes, len(tokenizer)), indent=2) + "\n")


def make_tokenizer(
    texts: Iterable[str], special_tokens: Sequence[str], vocabulary: int | None = None
) -> PreTrainedTokenizerFast:
    """Bytes, and the words of the prompt and of `texts`, a token each; filled up to `vocabulary` tokens, if given, with
    tokens that no text has; then the special ones.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator([SYSTEM, TASK, "system\n", "user\n", "assistant\n", *texts], trainer)
    if vocabulary is not None:
        tokenizer = _filled(tokenizer, vocabulary)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special_tokens))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.add_special_tokens({"additional_special_tokens": list(special_tokens)})
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def _filled(tokenizer: Tokenizer, vocabulary: int) -> Tokenizer:
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"]
    vocab |= {f"unused {i}": i for i in range(len(vocab), vocabulary)}
    filled = Tokenizer(models.BPE(vocab, [tuple(pair) for pair in model["merges"]]))
    filled.pre_tokenizer = tokenizer.pre_tokenizer
    return filled


def _vlm_config(sizes: Sizes, tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    def token(name: str) -> Any:
        return tokenizer.convert_tokens_to_ids(f"<|{name}|>")

    text = {
        "vocab_size": len(tokenizer),
        "rms_norm_eps": 1e-6,
        "eos_token_id": token("im_end"),
        "bos_token_id": token("endoftext"),
        "dtype": sizes.dtype,
    }
    vision = {
        "out_hidden_size": sizes.text["hidden_size"],
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    return Qwen3VLConfig(
        text_config=text | sizes.text,
        vision_config=vision | sizes.vision,
        image_token_id=token("image_pad"),
        video_token_id=token("video_pad"),
        vision_start_token_id=token("vision_start"),
        vision_end_token_id=token("vision_end"),
        tie_word_embeddings=False,
    )


def _config(sizes: Sizes, text_tokens: int) -> dict[str, Any]:
    action_space = {
        "_target_": f"{_PACKAGE}.action_space.UnicycleAccelCurvatureActionSpace",
        **sizes.action_space,
        "accel_bounds": [-9.8, 9.8],
        "curvature_bounds": [-0.33, 0.33],
        "dt": 0.1,
        "n_waypoints": WAYPOINTS,
        "v_lambda": 1e-6,
        "v_ridge": 1e-4,
    }
    trajectory_tokens = sizes.future_bins + sizes.history_bins
    first_added = text_tokens + trajectory_tokens
    return {
        "model_type": "alpamayo_r1",
        "architectures": ["AlpamayoR1"],
        "vlm_backend": "qwenvl3",
        "vlm_name_or_path": "vlm",
        "model_dtype": sizes.dtype,
        "dtype": sizes.dtype,
        "attn_implementation": "sdpa",
        "add_special_tokens": True,
        "expert_non_causal_attention": True,
        "keep_same_dtype": True,
        "min_pixels": sizes.pixels[0],
        "max_pixels": sizes.pixels[1],
        "tokens_per_history_traj": 3 * HISTORY_POSES,
        "tokens_per_future_traj": 2 * WAYPOINTS,
        "vocab_size": first_added + _ADDED_TOKENS,
        "traj_vocab_size": trajectory_tokens,
        "traj_token_start_idx": text_tokens,
        "traj_token_ids": {name: first_added + offset for name, offset in _TRAJ_TOKENS.items()},
        "expert_cfg": sizes.expert,
        "action_in_proj_cfg": {
            "_target_": f"{_PACKAGE}.models.action_in_proj.PerWaypointActionInProjV2",
            **sizes.action_in_proj,
        },
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "action_space_cfg": action_space,
        "diffusion_cfg": {
            "_target_": f"{_PACKAGE}.diffusion.flow_matching.FlowMatching",
            "int_method": "euler",
            "x_dims": "???",
        },
        "hist_traj_tokenizer_cfg": {
            "_target_": f"{_PACKAGE}.models.delta_tokenizer.DeltaTrajectoryTokenizer",
            "ego_xyz_min": [-m for m in sizes.history_xyz_m],
            "ego_xyz_max": list(sizes.history_xyz_m),
            "num_bins": sizes.history_bins,
            "predict_yaw": False,
        },
        "traj_tokenizer_cfg": {
            "_target_": f"{_PACKAGE}.action_space.discrete_action_space.DiscreteTrajectoryTokenizer",
            "action_space_cfg": action_space,
            "dims_min": [-10.0, -10.0],
            "dims_max": [10.0, 10.0],
            "num_bins": sizes.future_bins,
        },
    }
