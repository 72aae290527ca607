"""The training: from random weights to the average of those it went through."""

import argparse
import copy
import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from alpamayo_demo.errors import DemoError

from .batches import IMAGES, Batch, Batches
from .losses import Losses, losses
from .optimizers import optimizers_of
from .practice import practised
from .scenes_on_disk import ROAD, version_of
from .student import IMAGE_TOKENS, Student
from .tutor import Tutor

FLOWS = 2  # noises for every scene of a step
WARM_UP_STEPS, CLIP = 50, 10.0
WEIGHTS = {"reasoning": 3.0, "flow": 1.0, "seeing": 1.0}
AVERAGE = 0.998  # of the weights over steps: what is written is the average
ROUND_STEPS, ROUND_RATE = 200, 0.3  # after each round of practice; of the peak rate, at the first of them
SAVE_EVERY = 200


def train(student: Student, batches: Batches, arguments: argparse.Namespace) -> Student:
    """The average of the student's weights, after all steps."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student.to(device).train()
    averaged = copy.deepcopy(student).requires_grad_(False)
    tutor = Tutor(IMAGES, IMAGE_TOKENS, student.hidden_size).to(device)
    optimizers = optimizers_of(student, tutor)
    file = arguments.work / "state.pt"
    parts: list[Any] = [student, averaged, tutor, *optimizers]
    made_by = {
        "steps": arguments.steps,
        "rounds": arguments.rounds,
        "batch": arguments.batch,
        "seed": arguments.seed,
        "scenes": len(batches),
        "code": version_of(Path(__file__).parent, ROAD),
    }
    first = _resume(file, parts, made_by)
    positions, rope_delta = batches.position_ids(student)
    practice = arguments.work / "practice"
    if first == 0:
        shutil.rmtree(practice, ignore_errors=True)
    steps = arguments.steps + arguments.rounds * ROUND_STEPS
    bar = tqdm(range(first, steps), initial=first, total=steps, desc="training", unit="step")
    with (arguments.work / "log.jsonl").open("a" if first else "w") as log:
        for step in bar:
            rounds, since = divmod(step - arguments.steps, ROUND_STEPS)
            if rounds >= 0 and (since == 0 or step == first):
                batches.practice = practised(practice, rounds + 1, averaged, batches, arguments.workers)
            batch = _to(device, batches.draw(arguments.seed, step, arguments.batch))
            random = torch.Generator().manual_seed(arguments.seed * 1_000_003 + step)
            found = losses(student, tutor, batch, positions.to(device), rope_delta, FLOWS, random)
            rate = _schedule(step, arguments.steps, steps)
            _descend(found, [*student.parameters(), *tutor.parameters()], optimizers, rate)
            _average(averaged, student, min(AVERAGE, (step + 1) / (step + 10)))
            values = {name: value.item() for name, value in found.items()}
            bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})
            log.write(json.dumps({"step": step, **values}) + "\n")
            if (step + 1) % SAVE_EVERY == 0 or step + 1 in (arguments.steps, steps):
                log.flush()
                _save(file, parts, made_by, step + 1)
    return averaged


def _descend(found: Losses, parameters: list[Tensor], optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """A step of all optimizers, at `rate` times their peaks."""
    for optimizer in optimizers:
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
    torch.stack([WEIGHTS[name] * loss for name, loss in found.items()]).sum().backward()
    torch.nn.utils.clip_grad_norm_(parameters, CLIP)
    for optimizer in optimizers:
        optimizer.step()


def _schedule(step: int, steps: int, all_steps: int) -> float:
    """Warm up, then half a cosine down to 2 %; from `steps` on, another, for practice, that begins lower."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    if step < steps:
        return _down(1.0, (step - WARM_UP_STEPS) / max(steps - WARM_UP_STEPS, 1))
    return _down(ROUND_RATE, (step - steps) / (all_steps - steps))


def _down(top: float, share: float) -> float:
    return 0.02 + (top - 0.02) * (1 + math.cos(math.pi * share)) / 2


@torch.no_grad()
def _average(averaged: Student, student: Student, keep: float) -> None:
    for mean, now in zip(averaged.parameters(), student.parameters(), strict=True):
        mean.lerp_(now, 1 - keep)


def _to(device: torch.device, batch: Batch) -> Batch:
    fields: dict[str, Tensor] = {name: tensor.to(device) for name, tensor in vars(batch).items()}
    return Batch(**fields)


def _save(file: Path, parts: list[Any], made_by: dict[str, Any], step: int) -> None:
    """`parts`: modules and optimizers."""
    partial = file.with_suffix(".partial")
    torch.save({"parts": [part.state_dict() for part in parts], "made_by": made_by, "step": step}, partial)
    partial.rename(file)


def _resume(file: Path, parts: list[Any], made_by: dict[str, Any]) -> int:
    """The step to go on with. Raises DemoError for what was saved by another training."""
    if not file.exists():
        return 0
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        found, values, step = state["made_by"], state["parts"], int(state["step"])
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, EOFError) as error:
        raise DemoError(f"{file}: no state of a training ({error}); remove it to begin anew") from error
    if found != made_by:
        differs = ", ".join(
            f"{name} {found.get(name)}, not {it}" for name, it in made_by.items() if found.get(name) != it
        )
        raise DemoError(f"{file}: of another training ({differs}); remove it to begin anew, or ask for the same")
    for part, value in zip(parts, values, strict=True):
        part.load_state_dict(value)
    return step
