"""The golden vectors as requests; see tests/golden/README.md."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CASES = ("greedy", "sampled", "no_stop_token")
WITHOUT_CHANCE = ("greedy", "no_stop_token")  # generated with top_k = 1


@dataclass(frozen=True)
class GoldenCase:
    meta: dict[str, Any]
    vectors: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.vectors[name]

    @property
    def scene(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`image_frames`, `ego_history_xyz`, `ego_history_rot` as the client takes them, in the reference's shapes."""
        return self["frames"], self["ego_history_xyz"], self["ego_history_rot"]

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The same as the ensemble's inputs."""
        return {
            "image_frames": self["frames"],
            "ego_history_xyz": self["ego_history_xyz"][0, 0],
            "ego_history_rot": self["ego_history_rot"][0, 0],
        }

    @property
    def parameters(self) -> dict[str, int]:
        """How it was generated, if without chance."""
        return {
            "num_traj_samples": self.meta["num_traj_samples"],
            "top_k": 1,
            "max_generation_length": self.meta["max_generation_length"],
            "inference_steps": self.meta["inference_step"],
        }

    @property
    def prompt_length(self) -> int:
        return self["prompt_ids"].shape[1]

    @property
    def kv_lengths(self) -> list[int]:
        """Of each thought's tokens, how many have a KV entry: up to the stop token, or all but the last."""
        all_but_last = self["generated_kv"].shape[4]
        return [stop + 1 - self.prompt_length if stop >= 0 else all_but_last for stop in self.meta["lengths"]]

    @property
    def complete(self) -> list[bool]:
        return [stop >= 0 for stop in self.meta["lengths"]]

    @property
    def action_position(self) -> np.ndarray:
        """(N,) int32: the mRoPE position after each thought, the stop token included."""
        end = self["sequences_raw"].shape[1]
        after = [stop + 1 if stop >= 0 else end for stop in self.meta["lengths"]]
        return (np.array(after) + self["rope_deltas"][:, 0]).astype(np.int32)

    def packed(self) -> dict[str, np.ndarray]:
        """The denoiser's inputs: the prompt's rows, then one thought's after the other."""
        lengths = self.kv_lengths
        thoughts = [self["generated_kv"][:, i, :, :, :length] for i, length in enumerate(lengths)]
        owners = [np.full(self.prompt_length, -1), *(np.full(length, i) for i, length in enumerate(lengths))]
        return {
            "kv_cache": np.concatenate([self["prompt_kv"], *thoughts], axis=3),
            "kv_owner": np.concatenate(owners).astype(np.int32),
            "action_owner": np.arange(len(lengths), dtype=np.int32),
            "action_position": self.action_position,
            "noise": self["noise"],
        }

    def packed_many(self, trajectories: int, prompts: int = 1) -> dict[str, np.ndarray]:
        """The same for so many trajectories of the first thought; with the prompt's rows repeated it takes longer."""
        inputs = self.packed()
        prompt = inputs["kv_owner"] == -1
        rows = np.concatenate([np.flatnonzero(prompt)] * prompts + [np.flatnonzero(~prompt)])
        return inputs | {
            "kv_cache": inputs["kv_cache"][:, :, :, rows],
            "kv_owner": inputs["kv_owner"][rows],
            "action_owner": np.zeros(trajectories, np.int32),
            "action_position": inputs["action_position"][:1].repeat(trajectories),
            "noise": np.zeros((trajectories, 64, 2), np.float32),
        }

    @property
    def action(self) -> np.ndarray:
        """(1, 1, N, 64, 2): m/s2 and 1/m."""
        space = action_space()
        std = np.array([space["accel_std"], space["curvature_std"]])
        mean = np.array([space["accel_mean"], space["curvature_mean"]])
        return (self["action"] * std + mean)[None, None]

    @property
    def within_bounds(self) -> np.ndarray:
        space = action_space()
        low, high = np.array([space["accel_bounds"], space["curvature_bounds"]]).T
        return ((self.action >= low) & (self.action <= high)).all(axis=(-1, -2))


def action_space() -> dict[str, Any]:
    return json.loads((GOLDEN / "checkpoint" / "config.json").read_text())["action_space_cfg"]


@cache
def golden_case(name: str) -> GoldenCase:
    folder = GOLDEN / name
    return GoldenCase(json.loads((folder / "meta.json").read_text()), load_file(folder / "vectors.safetensors"))
