"""The demo's checkpoint: the released layout, small."""

from pathlib import Path

from alpamayo_export.layout import SMALL_TOKENS, Sizes, make_tokenizer, write_layout
from alpamayo_export.shards import save_tensors
from torch import Tensor

from alpamayo_demo.road.cameras import HEIGHT_PX, WIDTH_PX
from alpamayo_demo.road.situations import Situation

MAX_BYTES = 12_000_000
SIZES = Sizes(
    text={
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [8, 4, 4],
            "mrope_interleaved": True,
        },
    },
    vision={
        "depth": 5,
        "hidden_size": 96,
        "num_heads": 3,
        "intermediate_size": 288,
        "deepstack_visual_indexes": [1, 3],
        "num_position_embeddings": 256,
    },
    expert={"hidden_size": 96, "intermediate_size": 288, "num_attention_heads": 4, "head_dim": 32},
    action_in_proj={
        "hidden_size": 96,
        "max_freq": 0.1,  # from 1 down: normalised actions are a few units wide, and shorter waves hide the value
        "num_enc_layers": 2,
        "num_fourier_feats": 20,
    },
    action_space={"accel_mean": -0.15, "accel_std": 0.85, "curvature_mean": 0.0, "curvature_std": 0.006},
    history_xyz_m=(2, 2, 2),
    history_bins=500,
    future_bins=4,  # the action expert draws the future; its tokens are there, and never used
    pixels=(HEIGHT_PX * WIDTH_PX, HEIGHT_PX * WIDTH_PX),
    dtype="float32",
)


def write_configs(folder: Path) -> None:
    """Everything of the checkpoint but its weights. The sentences' words are a token each."""
    write_layout(folder, SIZES, make_tokenizer([situation.value for situation in Situation], SMALL_TOKENS))


def write_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """`weights`: by the released names, float32."""
    plain = {name: tensor.detach().float().contiguous() for name, tensor in weights.items()}
    file, partial = folder / "model.safetensors", folder / "model.partial"
    save_tensors(plain, partial)
    partial.rename(file)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"{folder} has {size} bytes; the repository holds checkpoints of at most {MAX_BYTES}")
