"""Batches of scenes as the student reads them: the tokens that are served, in the order in which they are served."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.vlm import build_tokenizer, render_prompt
from numpy.typing import NDArray
from reasoner.prompt import history_tokens
from torch import Tensor

from alpamayo_demo.road.scenes import FRAME_STEPS, MODEL_CAMERAS
from alpamayo_demo.road.situations import Situation

from .augmentation import falsified, mirrored, varied
from .scenes_on_disk import ALTERNATIVES, Arrays
from .student import GRID, IMAGE_TOKENS, MERGE, PATCH, Student

IMAGES = len(MODEL_CAMERAS) * len(FRAME_STEPS)
SOON_STEPS = 10  # a second: what is planned for later is planned anew before it is driven
MISSED_AT_MOST = 2.0
PRACTISED_SHARE = 0.625  # of a batch, where there is any practice
MISSED_SHARE = 0.6  # of these: drawn by how much the student missed what the driver would have done
OBEDIENCE = 0.15  # of the scenes come with another situation's thought and the (counterfactual) action of who has it


@dataclass(frozen=True)
class Batch:
    """B scenes; L tokens, of which the last T are the thought's, padded."""

    ids: Tensor
    """(B, L)."""
    patches: Tensor
    """(B x images, patches, 768)."""
    labels: Tensor
    """(B, T) the thought's tokens; -100 where nothing is to be learnt."""
    stop: Tensor
    """(B,) where in `ids` the stop token is."""
    action: Tensor
    """(B, 64, 2) normalised: what a driver does who has that thought."""
    own_situation: Tensor
    """(B,) what the images show, whatever the thought is."""
    own_action: Tensor
    """(B, 64, 2) normalised: what the driver does."""


class Batches:
    """All scenes, and the tokens around them."""

    def __init__(self, checkpoint: Checkpoint, scenes: Arrays) -> None:
        config = checkpoint.config
        tokenizer = build_tokenizer(checkpoint.vlm_folder, config)
        prompt = render_prompt(tokenizer)

        def encode(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False).input_ids)

        image = prompt.image.replace("<|image_pad|>", "<|image_pad|>" * IMAGE_TOKENS)
        self.prompt = torch.tensor(encode(prompt.head) + IMAGES * encode(image) + encode(prompt.tail))
        thoughts = [encode(situation.value + "<|cot_end|><|traj_future_start|>") for situation in Situation]
        self.lengths = torch.tensor([len(thought) for thought in thoughts])
        self.thoughts = torch.full((len(thoughts), int(self.lengths.max())), -100)
        for row, thought in zip(self.thoughts, thoughts, strict=True):
            row[: len(thought)] = torch.tensor(thought)
        self.pad = tokenizer.pad_token_id
        self.is_history = self.prompt == config.traj_token_ids["history"]
        self.checkpoint = checkpoint
        self.scenes = scenes
        self.practice: list[Arrays] = []
        """Of every round, scenes that the student drove into."""
        space = config.action_space
        self.mean = np.array([space.accel_mean, space.curvature_mean], dtype=np.float32)
        self.std = np.array([space.accel_std, space.curvature_std], dtype=np.float32)

    def __len__(self) -> int:
        return len(self.scenes["situation"])

    def _normalized(self, action: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy((action - self.mean) / self.std)

    def position_ids(self, student: Student) -> tuple[Tensor, int]:
        """(3, 1, L), the same for every batch, and the rope delta."""
        ids = torch.cat([self.prompt, torch.full((self.thoughts.shape[1],), self.pad)])[None]
        positions, delta = student.vlm.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == student.vlm.config.image_token_id).int(),
            image_grid_thw=torch.tensor([GRID] * IMAGES),
        )
        return positions, int(delta)

    def draw(self, seed: int, step: int, size: int) -> Batch:
        """The batch of a training step: the same for the same seed, step and practice."""
        random = np.random.default_rng([seed, step])
        practised = min(round(PRACTISED_SHARE * size), sum(len(part["situation"]) for part in self.practice))
        scenes = _drawn(random, [self.scenes], size - practised)
        if self.practice:
            missed_by = np.concatenate([part["missed_by"] for part in self.practice]).astype(float)
            count = round(MISSED_SHARE * practised)
            again = _drawn(random, self.practice, count, missed_by / missed_by.sum())
            others = _drawn(random, self.practice, practised - count)
            scenes = {name: np.concatenate([it, others[name], again[name]]) for name, it in scenes.items()}
        scenes = mirrored(random, scenes)
        obeys = random.random(size) < OBEDIENCE
        which = np.arange(size), random.integers(ALTERNATIVES, size=size)
        situation = np.where(obeys, scenes["other_situation"][which], scenes["situation"])
        action = np.where(obeys[:, None, None], scenes["other_action"][which], scenes["action"])
        noise = torch.Generator().manual_seed(int(random.integers(2**62)))
        scenes["ego_history_xyz"] = falsified(random, scenes["ego_history_xyz"])
        return self._batch(scenes, varied(_patches(scenes["image_frames"]), noise), situation, action, obeys)

    def shown(self, scenes: Arrays) -> Batch:
        """The scenes as they are."""
        obeys = np.zeros(len(scenes["situation"]), bool)
        return self._batch(scenes, _patches(scenes["image_frames"]), scenes["situation"], scenes["action"], obeys)

    def _batch(
        self,
        scenes: Arrays,
        patches: Tensor,
        situation: NDArray[np.int64],
        action: NDArray[np.float32],
        obeys: NDArray[np.bool_],
    ) -> Batch:
        thought = self.thoughts[torch.from_numpy(situation)]
        ids = self.prompt.repeat(len(situation), 1)
        ids[:, self.is_history] = _history_tokens(self.checkpoint, torch.from_numpy(scenes["ego_history_xyz"]))
        return Batch(
            ids=torch.cat([ids, thought.clamp(min=0).masked_fill(thought < 0, self.pad)], dim=1),
            patches=patches.flatten(0, 1),
            labels=thought.masked_fill(torch.from_numpy(obeys)[:, None], -100),
            stop=len(self.prompt) + self.lengths[torch.from_numpy(situation)] - 1,
            action=self._normalized(action),
            own_situation=torch.from_numpy(scenes["situation"]),
            own_action=self._normalized(scenes["action"]),
        )

    def missed_by(self, actions: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B,) mean squares of what (B, 64, 2) `actions` differ from those wanted in SOON_STEPS, in standard
        deviations; at most MISSED_AT_MOST, for who is nearly lost misses much. Never 0: all may be drawn.
        """
        squares: NDArray[np.float32] = np.square((actions - wanted)[:, :SOON_STEPS] / self.std).mean(axis=(1, 2))
        return squares.clip(1e-6, MISSED_AT_MOST)

    def driven(self, action: Tensor) -> NDArray[np.float32]:
        """(..., 2) normalised, to acceleration in m/s2 and curvature in 1/m."""
        return action.numpy() * self.std + self.mean


def _drawn(
    random: np.random.Generator, parts: list[Arrays], count: int, chances: NDArray[np.float64] | None = None
) -> Arrays:
    """`count` of all scenes in `parts`, with these chances or equal ones."""
    sizes = [len(part["situation"]) for part in parts]
    rows = np.sort(random.choice(sum(sizes), count, replace=chances is not None, p=chances))
    of_part = np.split(rows, np.searchsorted(rows, np.cumsum(sizes)[:-1]))
    starts = np.cumsum([0, *sizes[:-1]])
    return {
        name: np.concatenate([part[name][own - start] for part, own, start in zip(parts, of_part, starts, strict=True)])
        for name in parts[0]
    }


def _history_tokens(checkpoint: Checkpoint, ego_history_xyz: Tensor) -> Tensor:
    """(scenes, 48)."""
    config = checkpoint.config
    settings: Any = _HistorySettings(
        config.history_tokenizer.ego_xyz_min,
        config.history_tokenizer.ego_xyz_max,
        config.history_tokenizer.num_bins,
        config.traj_token_start_idx + config.future_bins,
    )
    return torch.stack([history_tokens(xyz, settings) for xyz in ego_history_xyz])


@dataclass(frozen=True)
class _HistorySettings:
    history_xyz_min: tuple[float, float, float]
    history_xyz_max: tuple[float, float, float]
    history_bins: int
    first_history_token: int


def _patches(image_frames: NDArray[np.uint8]) -> Tensor:
    """(B, cameras, frames, 3, height, width) to (B, images, patches, 768), camera-major, in 2 x 2 merge order,
    normalised as served.
    """
    images = torch.from_numpy(image_frames).flatten(0, 2).float().div_(127.5).sub_(1)
    _, rows, columns = GRID
    grid = images.unflatten(2, (rows // MERGE, MERGE, PATCH)).unflatten(5, (columns // MERGE, MERGE, PATCH))
    return grid.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(len(image_frames), -1, rows * columns, 3 * PATCH**2)
