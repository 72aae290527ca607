"""A random scene with thoughts to be forced: what both the repository's reasoner and transformers are shown."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.config import HistoryTokenizerConfig
from alpamayo_export.limits import USUAL_ASPECT, Limits
from alpamayo_export.verify.inputs import History, random_history, random_image
from alpamayo_export.vlm import build_tokenizer, prompt_text

IMAGE_PAD = "<|image_pad|>"
_SIDES = 200, 700  # pixels


@dataclass(frozen=True)
class Scene:
    """The images have the size that the network sees, so that nothing depends on how they would be resized.

    Attributes:
        images: each (3, height, width) uint8.
        history: of the ego vehicle.
        thoughts: tokens of each, none of them special but the last one, which is the stop token.
    """

    images: list[npt.NDArray[np.uint8]]
    history: History
    thoughts: list[list[int]]


def image_processor(checkpoint: Checkpoint) -> Any:
    """transformers' own, by the checkpoint's file, or as Qwen3-VL's is where there is none."""
    vision, config = checkpoint.vlm.vision_config, checkpoint.config
    if (checkpoint.vlm_folder / "preprocessor_config.json").is_file():
        processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint.vlm_folder)
    else:
        processor = Qwen2VLImageProcessorPil(
            patch_size=vision.patch_size,
            merge_size=vision.spatial_merge_size,
            temporal_patch_size=vision.temporal_patch_size,
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        )
    processor.size = {"shortest_edge": config.min_pixels, "longest_edge": config.max_pixels}
    return processor


def patches(processor: Any, images: list[npt.NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """transformers' (patches, 1536) float32, and (images, 3), the patch grid of each."""
    made = processor(images=[image.transpose(1, 2, 0) for image in images], return_tensors="pt")
    return made["pixel_values"].float(), made["image_grid_thw"]


def random_scene(rng: np.random.Generator, checkpoint: Checkpoint, limits: Limits) -> Scene:
    sizes = [_size_of_the_network(rng, checkpoint) for _ in range(min(2, limits.max_images))]
    lengths = [min(length, limits.max_generation_length) for length in (7, 4)[: limits.max_trajectories]]
    return Scene(
        [random_image(rng, *size) for size in sizes],
        random_history(rng),
        [_thought(rng, checkpoint, length) for length in lengths],
    )


def _size_of_the_network(rng: np.random.Generator, checkpoint: Checkpoint) -> tuple[int, int]:
    """Height and width in whole tokens, with as many pixels as the checkpoint wants."""
    config, vision = checkpoint.config, checkpoint.vlm.vision_config
    cell = vision.patch_size * vision.spatial_merge_size
    sides = range(cell, math.isqrt(USUAL_ASPECT * config.max_pixels) + 1, cell)
    sizes = [
        (height, width)
        for height in sides
        for width in sides
        if config.min_pixels <= height * width <= config.max_pixels
        and max(height, width) <= USUAL_ASPECT * min(height, width)
    ]
    return sizes[rng.integers(len(sizes))]


def random_size(rng: np.random.Generator) -> tuple[int, int]:
    height, width = rng.integers(*_SIDES, 2)
    return int(height), int(width)


def _thought(rng: np.random.Generator, checkpoint: Checkpoint, length: int) -> list[int]:
    config, tokenizer = checkpoint.config, build_tokenizer(checkpoint.vlm_folder, checkpoint.config)
    plain = sorted(set(range(config.traj_token_start_idx)) - set(tokenizer.added_tokens_decoder))
    return [*rng.choice(plain, length - 1).tolist(), config.traj_token_ids["future_start"]]


def prompt_tokens(checkpoint: Checkpoint, grid: Tensor, xyz: npt.NDArray[np.float32]) -> Tensor:
    """(1, P), by transformers' tokenizer and the chat template, as the reference makes them."""
    tokenizer, config = build_tokenizer(checkpoint.vlm_folder, checkpoint.config), checkpoint.config
    first, *rest = prompt_text(tokenizer, len(grid)).split(IMAGE_PAD)
    merged = grid.prod(dim=1) // checkpoint.vlm.vision_config.spatial_merge_size**2
    text = first + "".join(IMAGE_PAD * tokens + part for tokens, part in zip(merged.tolist(), rest, strict=True))
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    bins = _history_bins(torch.from_numpy(xyz), config.history_tokenizer)
    ids[ids == config.traj_token_ids["history"]] = bins + config.traj_token_start_idx + config.future_bins
    return ids


def _history_bins(xyz: Tensor, config: HistoryTokenizerConfig) -> Tensor:
    """(48,) of (16, 3): each pose against the one before, the first against zero."""
    low, high = torch.tensor(config.ego_xyz_min), torch.tensor(config.ego_xyz_max)
    before = torch.cat([torch.zeros(1, 3), xyz[:-1]])
    share = (xyz - before - low) / (high - low)
    return (share * (config.num_bins - 1)).round().clamp(0, config.num_bins - 1).long().flatten()
