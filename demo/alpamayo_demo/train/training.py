"""The training: from random weights to the average of those it went through."""

import copy
import json
import math
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from alpamayo_demo.drive import loop
from alpamayo_demo.errors import DemoError

from .batches import IMAGES, Batch, Batches
from .losses import Losses, losses
from .optimizers import optimizers_of
from .practice import practise
from .scenes_on_disk import PRACTISED, ROAD, Arrays, load, version_of
from .student import IMAGE_TOKENS, Student
from .tutor import Tutor

FLOWS = 2  # noises for every scene of a step
WARM_UP_STEPS, CLIP = 50, 10.0
WEIGHTS = {"reasoning": 3.0, "flow": 1.0, "seeing": 1.0}
AVERAGE = 0.998  # of the weights over steps: what is written is the average
ROUND_STEPS = 200  # after each round of practice
PRACTICE_RATE, LEAST_RATE = 0.3, 0.02  # the learning rate where practice begins and at the end, of the peak's
SAVE_EVERY = 200


@dataclass(frozen=True)
class Course:
    """`steps` on the driver's own scenes, then `rounds` of practice with ROUND_STEPS after each."""

    steps: int
    rounds: int
    batch: int
    """Scenes of a step."""
    seed: int

    @property
    def all_steps(self) -> int:
        return self.steps + self.rounds * ROUND_STEPS

    def rounds_before(self, step: int) -> int:
        return max(0, (step - self.steps) // ROUND_STEPS + 1)


def train(student: Student, batches: Batches, course: Course, work: Path, workers: int) -> Student:
    """The average of the student's weights, after all steps. State, log and practice are kept in the folder `work`, and
    what was interrupted goes on from there; `workers` processes render what is practised.

    Raises DemoError if `work` is of another training, or damaged.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student.to(device).train()
    averaged = copy.deepcopy(student).requires_grad_(False)
    tutor = Tutor(IMAGES, IMAGE_TOKENS, student.hidden_size).to(device)
    optimizers = optimizers_of(student, tutor)
    file = work / "state.pt"
    parts: list[Any] = [student, averaged, tutor, *optimizers]
    code = version_of(Path(__file__).parent, ROAD, Path(loop.__file__).parent)
    made_by = {**asdict(course), "scenes": len(batches), "code": code}
    first = _resume(file, parts, made_by)
    positions, rope_delta = batches.position_ids(student)
    if first == 0:
        for old in (work / "practice").glob("*.npz"):
            old.unlink()
    (work / "practice").mkdir(exist_ok=True)
    bar = tqdm(range(first, course.all_steps), initial=first, total=course.all_steps, desc="training", unit="step")
    with (work / "log.jsonl").open("a" if first else "w") as log:
        for step in bar:
            while len(batches.practice) < course.rounds_before(step):
                batches.practice.append(_round_of_practice(work, course, step, averaged, batches, workers))
            batch = _to(device, batches.draw(course.seed, step, course.batch))
            random = torch.Generator().manual_seed(course.seed * 1_000_003 + step)
            found = losses(student, tutor, batch, positions.to(device), rope_delta, FLOWS, random)
            rate = _schedule(step, course)
            _descend(found, [*student.parameters(), *tutor.parameters()], optimizers, rate)
            _average(averaged, student, min(AVERAGE, (step + 1) / (step + 10)))
            values = {name: value.item() for name, value in found.items()}
            bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})
            log.write(json.dumps({"step": step, **values}) + "\n")
            if (step + 1) % SAVE_EVERY == 0 or step + 1 in (course.steps, course.all_steps):
                log.flush()
                _save(file, parts, made_by, step + 1)
    return averaged


def _round_of_practice(
    work: Path, course: Course, step: int, student: Student, batches: Batches, workers: int
) -> Arrays:
    """The next: driven now, or before an interruption."""
    number = len(batches.practice)
    path = work / "practice" / f"{number:02}.npz"
    if path.exists():
        return load(path, PRACTISED)
    if step != course.steps + number * ROUND_STEPS:  # who would drive it now has learnt since
        raise DemoError(f"{path}: is missing; remove {work / 'state.pt'} to begin anew")
    return practise(path, number, student, batches, workers)


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


def _schedule(step: int, course: Course) -> float:
    """Warm up, then half a cosine down to PRACTICE_RATE, and in practice another one down to LEAST_RATE."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    if step < course.steps:
        least = PRACTICE_RATE if course.rounds else LEAST_RATE
        return _down(1.0, least, (step - WARM_UP_STEPS) / max(course.steps - WARM_UP_STEPS, 1))
    return _down(PRACTICE_RATE, LEAST_RATE, (step - course.steps) / (course.all_steps - course.steps))


def _down(top: float, bottom: float, share: float) -> float:
    return bottom + (top - bottom) * (1 + math.cos(math.pi * share)) / 2


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
        found, values, step = dict(state["made_by"]), state["parts"], int(state["step"])
        if found == made_by:
            for part, value in zip(parts, values, strict=True):
                part.load_state_dict(value)
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, EOFError) as error:
        raise DemoError(f"{file}: no state of a training ({error}); remove it to begin anew") from error
    if found != made_by:
        differs = ", ".join(
            f"{name} {found.get(name)}, not {it}" for name, it in made_by.items() if found.get(name) != it
        )
        raise DemoError(f"{file}: of another training ({differs}); remove it to begin anew, or ask for the same")
    return step
