"""`make train-demo`: render scenes, train, practise, write demo/checkpoint. Interrupted, it goes on where it was."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.config import read_config
from alpamayo_export.vlm import expert_config, read_vlm_config

from alpamayo_demo.errors import DemoError, check_between
from alpamayo_demo.served import CHECKPOINT, ROOT

from .batches import Batches
from .checkpoint import write_configs, write_weights
from .loss_plot import plot_losses
from .scenes_on_disk import rendered_scenes
from .student import Student, order_history_tokens
from .training import Course, train

WORK = ROOT / "out" / "train-demo"
BOUNDS = {
    "steps": (1, 1_000_000),
    "rounds": (0, 1000),
    "batch": (1, 4096),
    "workers": (1, 256),
    "seed": (0, 2**32),  # times a million it is still a seed of torch's
}
MAX_SCENES = 1_000_000  # 190 GB


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input, with a line on stderr; 2: wrong usage; 130: interrupted."""
    try:
        run(_arguments(argv))
    except (DemoError, OSError) as error:
        print(f"alpamayo_demo.train: {error}", file=sys.stderr)
        return 1
    except BrokenProcessPool:
        print(
            "alpamayo_demo.train: a rendering process was killed, for memory perhaps; give less --workers",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("alpamayo_demo.train: interrupted; the same command goes on from the last save", file=sys.stderr)
        return 130
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Raises DemoError."""
    for name, (least, most) in BOUNDS.items():
        check_between(f"--{name}", getattr(arguments, name), least, most)
    check_between("--scenes, of which a batch is drawn", arguments.scenes, arguments.batch, MAX_SCENES)
    with tempfile.TemporaryDirectory(prefix="alpamayo-demo-") as temporary:
        untrained = Path(temporary)
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
    course = Course(arguments.steps, arguments.rounds, arguments.batch, arguments.seed)
    averaged = train(student, batches, course, arguments.work, arguments.workers)
    write_configs(arguments.output)
    write_weights(arguments.output, averaged.state_dict())
    plot_losses(arguments.work / "log.jsonl", arguments.work / "losses.png", course.steps)
    print(f"wrote {arguments.output}; the losses: {arguments.work / 'losses.png'}")


def check_output(output: Path, untrained: Path) -> None:
    """Raises DemoError if something else than a checkpoint like `untrained` would be overwritten; OSError if `output`
    cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    theirs, ours = (folder / "config.json" for folder in (output, untrained))
    if any(output.iterdir()) and not (theirs.is_file() and theirs.read_bytes() == ours.read_bytes()):
        raise DemoError(f"--output {output}: holds something else; name another folder, or remove what is there")


def write_random_weights(folder: Path) -> None:
    """So that the checkpoint can be opened: `Student.of` asks for its configs only."""
    config = read_config(folder)
    vlm = read_vlm_config(folder / config.vlm_name_or_path, config.vocab_size)
    student = Student(vlm, config.action_in_proj, expert_config(vlm, config.expert))
    write_weights(folder, student.state_dict())


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m alpamayo_demo.train", description=__doc__)
    parser.add_argument("--output", type=Path, default=CHECKPOINT, help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=WORK, help="for scenes, state and log (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=16320, help="rendered scenes (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2600, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=10, help="of practice, after these steps (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="scenes a step (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=min(os.cpu_count() or 1, BOUNDS["workers"][1]), help="that render (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)
