"""`make train-demo`: render scenes, train, write demo/checkpoint. Interrupted, it goes on where it was."""

import argparse
import copy
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
from alpamayo_export.export import open_checkpoint
from torch import Tensor
from tqdm import tqdm

from alpamayo_demo.train.batches import Batch, Batches
from alpamayo_demo.train.checkpoint import write_configs, write_weights
from alpamayo_demo.train.loss_plot import plot_losses
from alpamayo_demo.train.losses import losses
from alpamayo_demo.train.scenes_on_disk import rendered_scenes
from alpamayo_demo.train.student import Student, order_history_tokens

FLOWS = 4  # noises for every scene of a step
LEARNING_RATE, WEIGHT_DECAY, WARM_UP_STEPS, CLIP = 1.5e-3, 0.02, 300, 1.0
REASONING_WEIGHT = 3.0
AVERAGE = 0.998  # of the weights over steps: what is written is the average
SAVE_EVERY = 200


def main() -> int:
    """0: done; 2: wrong usage."""
    arguments = _arguments()
    torch.manual_seed(arguments.seed)
    arguments.work.mkdir(parents=True, exist_ok=True)
    scenes = rendered_scenes(arguments.work / "scenes", arguments.scenes, arguments.workers)
    write_configs(arguments.output)
    if not (arguments.output / "model.safetensors").exists():
        write_random_weights(arguments.output)
    checkpoint = open_checkpoint(str(arguments.output))
    batches = Batches(checkpoint, scenes)
    student = Student.of(checkpoint)
    config = checkpoint.config
    order_history_tokens(student, config.traj_token_start_idx + config.future_bins, config.history_tokenizer.num_bins)
    averaged = train(student, batches, arguments)
    write_weights(arguments.output, averaged.state_dict())
    plot_losses(arguments.work / "log.jsonl", arguments.work / "losses.png")
    print(f"wrote {arguments.output}; the losses: {arguments.work / 'losses.png'}")
    return 0


def train(student: Student, batches: Batches, arguments: argparse.Namespace) -> Student:
    """The average of the student's weights, after all steps."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student.to(device).train()
    averaged = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(student), lr=LEARNING_RATE, betas=(0.9, 0.98))
    state = arguments.work / "state.pt"
    first = _resume(state, student, averaged, optimizer)
    positions, rope_delta = batches.position_ids(student)
    log = (arguments.work / "log.jsonl").open("a")
    bar = tqdm(range(first, arguments.steps), initial=first, total=arguments.steps, desc="training", unit="step")
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _schedule(step, arguments.steps)
        batch = _to(device, batches.draw(arguments.seed, step, arguments.batch))
        random = torch.Generator().manual_seed(arguments.seed * 1_000_003 + step)
        found = losses(student, batch, positions.to(device), rope_delta, FLOWS, random)
        loss = REASONING_WEIGHT * found["reasoning"] + found["flow"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), CLIP)
        optimizer.step()
        _average(averaged, student, min(AVERAGE, (step + 1) / (step + 10)))
        values = {name: value.item() for name, value in found.items()}
        bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})
        log.write(json.dumps({"step": step, **values}) + "\n")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == arguments.steps:
            log.flush()
            _save(state, student, averaged, optimizer, step + 1)
    return averaged


def write_random_weights(folder: Path) -> None:
    """So that the checkpoint can be opened: `Student.of` asks for its configs only."""
    from alpamayo_export.config import read_config
    from alpamayo_export.vlm import expert_config, read_vlm_config

    config = read_config(folder)
    vlm = read_vlm_config(folder / config.vlm_name_or_path, config.vocab_size)
    student = Student(vlm, config.action_in_proj, expert_config(vlm, config.expert))
    write_weights(folder, student.state_dict())


def _groups(student: Student) -> list[dict[str, Any]]:
    """Weight decay for matrices only."""
    matrices = [p for p in student.parameters() if p.ndim >= 2]
    others = [p for p in student.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


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


def _save(path: Path, student: Student, averaged: Student, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {
        "student": student.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    torch.save(state, path.with_suffix(".partial"))
    path.with_suffix(".partial").rename(path)


def _resume(path: Path, student: Student, averaged: Student, optimizer: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    student.load_state_dict(state["student"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m alpamayo_demo.train", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo/checkpoint"), help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=Path("out/train-demo"), help="scenes, state, log (%(default)s)")
    parser.add_argument("--scenes", type=int, default=24480, help="rendered scenes (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=6000, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=32, help="scenes a step (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="that render (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
