"""A checkpoint of random weights in the released layout."""

import json
import tempfile
from math import prod
from pathlib import Path

import torch
from alpamayo_model_repository.random_weights import random_weight, seed_of_weight

from alpamayo_export.checkpoint import model_dtype, stored, weight_shapes
from alpamayo_export.config import RANDOM_VLM_SEED, Json
from alpamayo_export.errors import ExportError
from alpamayo_export.layout import QWEN_TOKENS, SMALL_TOKENS, Sizes, make_tokenizer, write_layout
from alpamayo_export.shards import write_shards

RELEASED_LAYERS, RELEASED_VISION_LAYERS, TINY_LAYERS = 36, 27, 4
FIRST_QWEN_TOKEN = 151643  # of Qwen's special ones: its vocabulary comes before


def write_random_checkpoint(
    output: Path, size: str, layers: int | None = None, seed: int = 0, without_vlm: bool = False
) -> int:
    """How many bytes of weights were written to the folder `output`, which comes to be whole or not at all.

    They are drawn on the GPU where torch sees one: in seconds there, in minutes on a CPU. The same seed gives the same
    weights on either, but other ones on the other.

    Args:
        output: a folder that is new, or empty.
        size: released or tiny.
        layers: of the language model and the expert; None: all.
        seed: of the weights.
        without_vlm: leaves out the vision-language model's weights. `config.json` says so, and whoever loads the model
            draws them from the seed on the device where they stay: the same ones as if they had been written.

    Raises:
        ExportError: `output` holds something, or a number makes no sense.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ExportError(f"--output {output} is there already; name a folder that is new, or empty")
    if layers is not None and not 1 <= layers <= RELEASED_LAYERS:
        raise ExportError(f"--layers: got {layers}, wanted 1 .. {RELEASED_LAYERS}")
    if not 0 <= seed < 2**32:
        raise ExportError(f"--seed: got {seed}, wanted 0 .. {2**32 - 1}")
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
        unfinished = Path(temporary) / "checkpoint"
        if size == "released":
            tokenizer = make_tokenizer([], QWEN_TOKENS, FIRST_QWEN_TOKEN)
            write_layout(unfinished, _released(layers or RELEASED_LAYERS), tokenizer)
        else:
            write_layout(unfinished, _tiny(layers or TINY_LAYERS), make_tokenizer([], SMALL_TOKENS))
        if without_vlm:
            _draw_vlm_when_loaded(unfinished / "config.json", seed)
        written = _write_weights(unfinished, seed)
        unfinished.rename(output)  # over an empty folder too
    return written


def _released(layers: int) -> Sizes:
    """As `nvidia/Alpamayo-R1-10B` has them, with as many layers; the vision tower's in proportion."""
    vision_layers = max(3, round(RELEASED_VISION_LAYERS * layers / RELEASED_LAYERS))
    return _sizes(
        text={
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": layers,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262144,
            "rope_parameters": _rope([24, 20, 20]),
        },
        vision={
            "depth": vision_layers,
            "hidden_size": 1152,
            "num_heads": 16,
            "intermediate_size": 4304,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [vision_layers * tap // RELEASED_VISION_LAYERS for tap in (8, 16, 24)],
        },
        expert={"hidden_size": 2048, "intermediate_size": 8256, "num_attention_heads": 16, "head_dim": 128},
        action_hidden_size=512,
        dtype="bfloat16",
    )


def _tiny(layers: int) -> Sizes:
    return _sizes(
        text={
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 16384,
            "rope_parameters": _rope([4, 2, 2]),
        },
        vision={
            "depth": 4,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        expert={"hidden_size": 32, "intermediate_size": 72, "num_attention_heads": 4, "head_dim": 16},
        action_hidden_size=48,
        dtype="float32",
    )


def _sizes(text: Json, vision: Json, expert: Json, action_hidden_size: int, dtype: str) -> Sizes:
    """What does not depend on the size is as released."""
    return Sizes(
        text=text,
        vision=vision,
        expert=expert,
        action_in_proj={
            "hidden_size": action_hidden_size,
            "max_freq": 100.0,
            "num_enc_layers": 2,
            "num_fourier_feats": 20,
        },
        action_space={
            "accel_mean": 0.02902694707164455,
            "accel_std": 0.6810426736454882,
            "curvature_mean": 0.0002692167976330542,
            "curvature_std": 0.026148280660833106,
        },
        history_xyz_m=(4, 4, 10),
        history_bins=1000,
        future_bins=3000,
        pixels=(163840, 196608),
        dtype=dtype,
    )


def _rope(sections: list[int]) -> Json:
    return {"rope_type": "default", "rope_theta": 5e6, "mrope_section": sections, "mrope_interleaved": True}


def _draw_vlm_when_loaded(config: Path, seed: int) -> None:
    config.write_text(json.dumps({**json.loads(config.read_text()), RANDOM_VLM_SEED: seed}, indent=2) + "\n")


def _write_weights(folder: Path, seed: int) -> int:
    """How many bytes they are."""
    config, shapes = weight_shapes(folder)
    dtype = model_dtype(config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = {name: i for i, name in enumerate(shapes)}
    shapes = stored(shapes, config)
    sizes = {name: prod(shape) * dtype.itemsize for name, shape in shapes.items()}

    def draw(name: str) -> torch.Tensor:
        return random_weight(shapes[name], dtype, device, seed_of_weight(seed, numbers[name])).cpu()

    write_shards(folder, sizes, draw, "random weights")
    return sum(sizes.values())
