"""What the export wrote for the reasoner: limits, image sizes, tokens and the prompt's text."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Prompt:
    """The prompt's text: head, then `image` (with one `<|image_pad|>`) for every image, then tail."""

    head: str
    image: str
    tail: str


@dataclass(frozen=True)
class ReasonerSettings:
    precision: str  # fp32 or bf16: the network's and the KV cache's
    offload: tuple[str, ...]  # what stays in host memory where the rest is on a GPU: embedding, vision
    random_seed: int | None  # of weights that no file holds, for measurements; None: they are the checkpoint's
    max_images: int
    max_trajectories: int  # sets x samples
    max_generation_length: int  # tokens a thought
    min_pixels: int  # of an image after resizing
    max_pixels: int
    prompt: Prompt
    stop_token: int  # <|traj_future_start|>: the thought is complete
    history_placeholder_token: int
    first_history_token: int
    history_bins: int
    history_xyz_min: tuple[float, float, float]  # m, between poses
    history_xyz_max: tuple[float, float, float]
    first_trajectory_token: int  # never generated: trajectories are the denoiser's
    trajectory_tokens: int

    @classmethod
    def load(cls, folder: Path) -> "ReasonerSettings":
        values = json.loads((folder / "reasoner.json").read_text())
        return cls(**{**values, "offload": tuple(values["offload"]), "prompt": Prompt(**values["prompt"])})
