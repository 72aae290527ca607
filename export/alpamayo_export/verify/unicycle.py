"""The unicycle against its formula, written out in torch, float64, from the checkpoint's own constants."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alpamayo_model_repository.contract import WAYPOINTS
from torch import Tensor
from unicycle import UnicycleSettings, predict

from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.settings import Target, action_space
from alpamayo_export.verify.differences import differing, relative_error
from alpamayo_export.verify.inputs import History, random_history
from alpamayo_export.verify.report import Row
from alpamayo_export.verify.tolerances import EXACT, TOLERANCES

PART = "unicycle"
SETS, SAMPLES = 3, 4
HISTORIES = 10


def verify_unicycle(folder: Path, checkpoint: Checkpoint, target: Target, rng: np.random.Generator) -> Iterator[Row]:
    """The worst of several drives."""
    settings, space = UnicycleSettings.load(folder), action_space(checkpoint)
    most = target.limits.max_trajectories
    sets, samples = (SETS, SAMPLES) if SETS * SAMPLES <= most else (1, min(SAMPLES, most))
    owner = np.tile(np.arange(samples, dtype=np.int32), sets)
    worst = dict.fromkeys(("pred_xyz", "pred_rot", "action", "within_bounds"), 0.0)
    for _ in range(HISTORIES):
        history, normalized = random_history(rng), _actions(rng, space, len(owner))
        found = predict(normalized, owner, history.xyz, history.rot, settings)
        wanted = _integrated(torch.from_numpy(normalized).double(), history, space)
        for name, tensor in wanted.items():
            ours = torch.from_numpy(found[name]).reshape(tensor.shape)
            error = differing(ours, tensor) if tensor.dtype == torch.bool else relative_error(ours.double(), tensor)
            worst[name] = max(worst[name], error)
    for name, error in worst.items():
        exact = name == "within_bounds"
        tolerance = EXACT if exact else TOLERANCES[target.precision].trajectory
        yield Row(f"{PART}: {name}{' that differ' if exact else ''}", error, tolerance)


def _actions(rng: np.random.Generator, space: dict[str, Any], trajectories: int) -> Any:
    """(A, 64, 2) normalised; one action of each trajectory is 0.1 % beyond a bound, or 0.1 % within it."""
    normalized = rng.standard_normal((trajectories, WAYPOINTS, 2))
    for i, trajectory in enumerate(normalized):
        name, end = ("accel", "curvature")[i % 2], i // 2 % 2
        bound = space[f"{name}_bounds"][end] * (1.001 if rng.random() < 0.5 else 0.999)
        trajectory[rng.integers(WAYPOINTS), i % 2] = (bound - space[f"{name}_mean"]) / space[f"{name}_std"]
    return normalized.astype(np.float32)


def _integrated(normalized: Tensor, history: History, space: dict[str, Any]) -> dict[str, Tensor]:
    """Of (A, 64, 2), step by step."""
    std = torch.tensor([space["accel_std"], space["curvature_std"]], dtype=torch.float64)
    mean = torch.tensor([space["accel_mean"], space["curvature_mean"]], dtype=torch.float64)
    bounds = torch.tensor([space["accel_bounds"], space["curvature_bounds"]], dtype=torch.float64)
    action, dt = normalized * std + mean, space["dt"]
    v = torch.full((len(action),), _speed(history, space), dtype=torch.float64)
    x, y, theta = (torch.zeros_like(v) for _ in range(3))
    z = torch.full_like(v, float(history.xyz[-1, 2]))
    xyz, rot = [], []
    for a, kappa in action.permute(1, 2, 0):
        next_v = v + a * dt
        next_theta = theta + kappa * v * dt + kappa * a * dt**2 / 2
        x = x + (v * theta.cos() + next_v * next_theta.cos()) * dt / 2
        y = y + (v * theta.sin() + next_v * next_theta.sin()) * dt / 2
        v, theta = next_v, next_theta
        xyz.append(torch.stack([x, y, z], dim=-1))
        rot.append(torch.stack([_yaw(float(angle)) for angle in theta]))
    within = ((action >= bounds[:, 0]) & (action <= bounds[:, 1])).flatten(1).all(dim=1)
    return {
        "pred_xyz": torch.stack(xyz, dim=1),
        "pred_rot": torch.stack(rot, dim=1),
        "action": action,
        "within_bounds": within,
    }


def _yaw(angle: float) -> Tensor:
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float64)


def _speed(history: History, space: dict[str, Any]) -> float:
    """At t0, of the history's least squares: one equation below the other, the penalties too."""
    xyz, rot = (torch.from_numpy(it).double() for it in (history.xyz, history.rot))
    yaw, poses, dt = torch.atan2(rot[:, 1, 0], rot[:, 0, 0]), len(xyz), space["dt"]
    rows, right = [], []
    for t in range(poses - 1):
        for axis, along in enumerate((yaw.cos(), yaw.sin())):
            row = torch.zeros(poses, dtype=torch.float64)
            row[t], row[t + 1] = along[t], along[t + 1]
            rows.append(row)
            right.append(2 * (xyz[t + 1, axis] - xyz[t, axis]) / dt)
    for t in range(poses - 3):
        row = torch.zeros(poses, dtype=torch.float64)
        row[t : t + 4] = torch.tensor([-1.0, 3.0, -3.0, 1.0], dtype=torch.float64)
        rows.append(row * math.sqrt(space["v_lambda"]) / dt**3)
    rows += list(math.sqrt(space["v_ridge"]) * torch.eye(poses, dtype=torch.float64))
    design = torch.stack(rows)
    target = torch.zeros(len(rows), 1, dtype=torch.float64)
    target[: len(right), 0] = torch.stack(right)
    return float(torch.linalg.lstsq(design, target).solution[-1])
