"""`make train-demo`: render scenes, train, write demo/checkpoint. Interrupted, it goes on where it was."""

import argparse
import copy
import json
import math
import os
import pickle
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from alpamayo_export.export import open_checkpoint
from torch import Tensor
from tqdm import tqdm

from alpamayo_demo.errors import DemoError, check_at_least
from alpamayo_demo.served import CHECKPOINT, ROOT
from alpamayo_demo.train.batches import IMAGES, Batch, Batches
from alpamayo_demo.train.checkpoint import write_configs, write_weights
from alpamayo_demo.train.loss_plot import plot_losses
from alpamayo_demo.train.losses import losses
from alpamayo_demo.train.optimizers import optimizers_of
from alpamayo_demo.train.scenes_on_disk import ROAD, rendered_scenes, version_of
from alpamayo_demo.train.student import IMAGE_TOKENS, Student, order_history_tokens
from alpamayo_demo.train.tutor import Tutor

FLOWS = 2  # noises for every scene of a step
WARM_UP_STEPS, CLIP = 50, 10.0
WEIGHTS = {"reasoning": 3.0, "flow": 1.0, "seeing": 1.0}
AVERAGE = 0.998  # of the weights over steps: what is written is the average
SAVE_EVERY = 200
WORK = ROOT / "out" / "train-demo"


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input, with a line on stderr; 2: wrong usage; 130: interrupted."""
    try:
        run(_arguments(argv))
    except (DemoError, OSError) as error:
        print(f"alpamayo_demo.train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("alpamayo_demo.train: interrupted; the same command goes on from the last save", file=sys.stderr)
        return 130
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Raises DemoError."""
    for name in ("steps", "batch", "workers"):
        check_at_least(1, f"--{name}", getattr(arguments, name))
    check_at_least(arguments.batch, "--scenes, of which a batch is drawn", arguments.scenes)
    check_at_least(0, "--seed", arguments.seed)
    untrained = arguments.work / "checkpoint"
    write_configs(untrained)
    check_output(arguments.output, untrained)
    scenes = rendered_scenes(arguments.work / "scenes", arguments.scenes, arguments.workers)
    write_random_weights(untrained)
    checkpoint = open_checkpoint(str(untrained))
    batches = Batches(checkpoint, scenes)
    torch.manual_seed(arguments.seed)
    student = Student.of(checkpoint)
    config = checkpoint.config
    order_history_tokens(student, config.traj_token_start_idx + config.future_bins, config.history_tokenizer.num_bins)
    averaged = train(student, batches, arguments)
    write_configs(arguments.output)
    write_weights(arguments.output, averaged.state_dict())
    plot_losses(arguments.work / "log.jsonl", arguments.work / "losses.png")
    print(f"wrote {arguments.output}; the losses: {arguments.work / 'losses.png'}")


def check_output(output: Path, untrained: Path) -> None:
    """Raises DemoError if something else than a checkpoint like `untrained` would be overwritten; OSError if `output`
    cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    theirs, ours = (folder / "config.json" for folder in (output, untrained))
    if any(output.iterdir()) and not (theirs.is_file() and theirs.read_bytes() == ours.read_bytes()):
        raise DemoError(f"--output {output}: holds something else; name another folder, or remove what is there")


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
        "batch": arguments.batch,
        "seed": arguments.seed,
        "scenes": len(batches),
        "code": version_of(Path(__file__).parent, ROAD),
    }
    first = _resume(file, parts, made_by)
    positions, rope_delta = batches.position_ids(student)
    log = (arguments.work / "log.jsonl").open("a" if first else "w")
    bar = tqdm(range(first, arguments.steps), initial=first, total=arguments.steps, desc="training", unit="step")
    for step in bar:
        for group in chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
            group["lr"] = group["peak"] * _schedule(step, arguments.steps)
        batch = _to(device, batches.draw(arguments.seed, step, arguments.batch))
        random = torch.Generator().manual_seed(arguments.seed * 1_000_003 + step)
        found = losses(student, tutor, batch, positions.to(device), rope_delta, FLOWS, random)
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.stack([WEIGHTS[name] * loss for name, loss in found.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_([*student.parameters(), *tutor.parameters()], CLIP)
        for optimizer in optimizers:
            optimizer.step()
        _average(averaged, student, min(AVERAGE, (step + 1) / (step + 10)))
        values = {name: value.item() for name, value in found.items()}
        bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})
        log.write(json.dumps({"step": step, **values}) + "\n")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == arguments.steps:
            log.flush()
            _save(file, parts, made_by, step + 1)
    return averaged


def write_random_weights(folder: Path) -> None:
    """So that the checkpoint can be opened: `Student.of` asks for its configs only."""
    from alpamayo_export.config import read_config
    from alpamayo_export.vlm import expert_config, read_vlm_config

    config = read_config(folder)
    vlm = read_vlm_config(folder / config.vlm_name_or_path, config.vocab_size)
    student = Student(vlm, config.action_in_proj, expert_config(vlm, config.expert))
    write_weights(folder, student.state_dict())


def _schedule(step: int, steps: int) -> float:
    """Warm up, then half a cosine down to 2 %."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    return 0.02 + 0.98 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / max(steps - WARM_UP_STEPS, 1))) / 2


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


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m alpamayo_demo.train", description=__doc__)
    parser.add_argument("--output", type=Path, default=CHECKPOINT, help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=WORK, help="for scenes, state and log (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=24480, help="rendered scenes (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=5000, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=32, help="scenes a step (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="that render (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
