"""Where a request's time goes, stage by stage, beside what the same machine could do at best (its roofline).

The stages run in this process, as the server runs them, on a made-up scene: cameras as JPEG files, thoughts of a fixed
length, decoded to the end. The roofline is measured in the same run: memory bandwidth by summing up a large tensor, and
arithmetic by a large matrix product in the network's precision. A stage's bound is its bytes over the one or its
operations over the other, whichever takes longer; what is not the networks' arithmetic has no bound here.
"""

import argparse
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alpamayo_model_repository.on_path  # noqa: F401  # for the stages' modules
import numpy as np
import torch
from alpamayo_demo.errors import check_between
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_demo.served import ROOT, is_repository, shown
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits
from contract import HISTORY_POSES, WAYPOINTS, Parameters
from cuda_graph import record
from denoiser.euler import denoise
from denoiser.request import DenoiserRequest, DenoiserSettings, check_request
from denoiser.runners import open_runner
from denoiser.velocity import Denoiser
from kv_checksum import kv_checksum
from latency import summary
from reasoner.images import check_image, preprocess
from reasoner.reasoner import Prefilled, Reasoner, Scene, Thoughts
from reasoner.request import ReasonerRequest
from reasoner.sampling import next_tokens, thought_uniforms, trajectory_noise
from roofline import (
    Roofline,
    Work,
    measure_roofline,
    nothing,
    prefill_work,
    step_work,
    stopwatch,
    token_work,
    vision_work,
)
from scenes import as_jpeg, made_up_scene
from torch import Tensor
from tqdm import tqdm
from unicycle import UnicycleSettings, predict

STAGES = "reasoner", "denoiser", "unicycle"


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    golden = ROOT / "tests" / "golden" / "checkpoint"
    cli.add_argument("source", nargs="?", type=Path, default=golden, help="checkpoint or repository")
    cli.add_argument("--samples", type=int, nargs="+", default=[1, 6], metavar="K", help="thoughts (default: 1 6)")
    cli.add_argument("--tokens", type=int, default=40, metavar="N", help="a thought (default: %(default)s)")
    cli.add_argument("--steps", type=int, default=10, metavar="N", help="Euler's (default: %(default)s)")
    cli.add_argument("--images", type=int, default=16, metavar="N", help="frames, up to 16 (default: %(default)s)")
    cli.add_argument("--size", type=size, default="1920x1080", metavar="WxH", help="of a frame (default: %(default)s)")
    cli.add_argument("--rounds", type=int, default=10, metavar="N", help="of every stage (default: %(default)s)")
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    task = Task(args.tokens, args.steps, args.images, *args.size)
    command = shlex.join(["python", "benchmarks/stages.py", *argv])
    return report(
        "stages.py", lambda: measure(args.source, args.samples, task, args.rounds, command), table, args.output
    )


def size(text: str) -> tuple[int, int]:
    """Width and height."""
    if not (match := re.fullmatch(r"(\d+)x(\d+)", text)):
        raise argparse.ArgumentTypeError(f"got {text}, wanted WIDTHxHEIGHT in pixels, such as 1920x1080")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class Task:
    tokens: int  # a thought
    steps: int  # Euler's
    images: int
    width: int  # pixels, of an image
    height: int


def measure(source: Path, samples: Sequence[int], task: Task, rounds: int, command: str) -> Result:
    """Seconds of every stage, for every number of thoughts. Raises one of EXPECTED."""
    for name, most in (("tokens", None), ("steps", None), ("images", 16)):
        check_between(f"--{name}", getattr(task, name), 1, most)
    for k in samples:
        check_between("--samples", k, 1)
    check_between("--rounds", rounds, 1)
    machine, device = describe(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with repository_of(source) as repository:
        pipeline = Pipeline(repository, device)
        roofline = measure_roofline(device, pipeline.settings.precision, rounds)
        stages = {f"k{k}": time_stages(pipeline, k, task, rounds) for k in tqdm(samples, desc="numbers of thoughts")}
    return {
        "benchmark": "stages",
        "command": command,
        "machine": machine,
        "settings": {
            "checkpoint": shown(source),
            "precision": pipeline.settings.precision,
            "denoiser": pipeline.denoiser.runner.name,
            "tokens": task.tokens,
            "inference_steps": task.steps,
            "frames": [task.images, task.height, task.width],
        },
        "roofline": vars(roofline),
        "stages": {
            k: {name: {**timed, **bound(timed, work, roofline)} for name, (timed, work) in of_k.items()}
            for k, of_k in stages.items()
        },
    }


class Pipeline:
    """The three models of a repository, in this process."""

    def __init__(self, repository: Path, device: torch.device) -> None:
        reasoner, denoiser, unicycle = (repository / f"alpamayo_{name}" / "1" for name in STAGES)
        self.reasoner = Reasoner(reasoner, device, record if device.type == "cuda" else None)
        self.settings = DenoiserSettings.load(denoiser)
        self.denoiser = Denoiser(open_runner(denoiser, device, self.settings), self.settings, record, print)
        self.denoiser_bytes = (denoiser / "denoiser.pt2").stat().st_size  # its weights, but for little
        self.unicycle = UnicycleSettings.load(unicycle)


@contextmanager
def repository_of(source: Path) -> Iterator[Path]:
    """`source`, exported for the block if it is a checkpoint. Raises ExportError."""
    with tempfile.TemporaryDirectory(prefix="alpamayo-stages-") as temporary:
        if not is_repository(source):
            export(open_checkpoint(str(source)), Path(temporary) / "repository", Options("auto", "auto", Limits()))
            source = Path(temporary) / "repository"
        yield source


def bound(timed: dict[str, Any], work: Work | None, roofline: Roofline) -> dict[str, Any]:
    if work is None:
        return {}
    at_best = roofline.bound(work)
    return {**vars(work), "bound_s": at_best, "p50_over_bound": timed["p50"] / at_best}


Timed = dict[str, tuple[dict[str, float], Work | None]]


@torch.inference_mode()
def time_stages(pipeline: Pipeline, k: int, task: Task, rounds: int) -> Timed:
    """Every stage's seconds and work, by name, in a request's order."""
    reasoner, denoiser, device = pipeline.reasoner, pipeline.denoiser, pipeline.reasoner.device
    request, found = made_up_request(k, task), Timed()

    def clock(
        name: str,
        work: Callable[[], Any],
        least: Work | None = None,
        share: int = 1,
        less: str = "",
        before: Callable[[], Any] = nothing,
    ) -> None:
        """`share`: it does so many of them; `less`: without a part of it that has been timed."""
        seconds = stopwatch(device, rounds, work, before)
        timed = found[less][0]["p50"] if less else 0.0
        found[name] = summary([max(s - timed, 0.0) / share for s in seconds]), least

    clock("decode images", lambda: list(reasoner.frames.batches(request.images, nothing)))
    batches = list(reasoner.frames.batches(request.images, nothing))
    limits = reasoner.settings.min_pixels, reasoner.settings.max_pixels
    clock("preprocess", lambda: preprocess(batches, *limits))
    scene = reasoner.look(request)
    clock("vision", lambda: reasoner.vision(scene.pixel_values, scene.image_grid_thw), vision_work(reasoner, scene))
    length = task.tokens + 1  # the last one allowed takes no forward pass
    clock("prefill", lambda: reasoner.prefill(scene, k, length), prefill_work(reasoner, scene), less="vision")
    decoding = Decoding(reasoner, scene, k, length)
    decoding.prefill()
    clock("per token", decoding.run, token_work(reasoner, decoding.prefilled), task.tokens, before=decoding.prefill)
    decoding.prefill()
    thoughts = decoding.run()
    clock("checksum", lambda: kv_checksum(thoughts.kv_cache).cpu())
    packed = denoiser_request(thoughts, k, device)
    clock("check request", lambda: check_request(packed, pipeline.settings))
    steps = task.steps
    step = step_work(pipeline.settings, pipeline.denoiser_bytes, packed)
    denoiser.bind(packed)  # seen for the first time: the next one is recorded
    clock("per Euler step", lambda: denoise(denoiser.bind(packed), packed.noise, steps), step, share=steps)
    action = np.zeros((k, WAYPOINTS, 2), np.float32)
    rot = np.tile(np.eye(3, dtype=np.float32), (HISTORY_POSES, 1, 1))
    owner = np.arange(k, dtype=np.int32)
    clock("unicycle", lambda: predict(action, owner, request.ego_history_xyz, rot, pipeline.unicycle))
    return found


class Decoding:
    """All tokens of all thoughts, sampled as a request's are, but for the tokens that would end them."""

    def __init__(self, reasoner: Reasoner, scene: Scene, k: int, length: int) -> None:
        self._reasoner, self._scene, self._length = reasoner, scene, length
        self._uniforms = thought_uniforms(0, k, length).to(reasoner.device)
        self._ends = reasoner.settings.stop_token, reasoner.text_config.eos_token_id

    def prefill(self) -> None:
        """Before every run: it uses up what it finds."""
        self.prefilled: Prefilled = self._reasoner.prefill(self._scene, len(self._uniforms), self._length)

    def run(self) -> Thoughts:
        return self._reasoner.generate(self.prefilled, self._length, self._sample)

    def _sample(self, logits: Tensor, s: int) -> Tensor:
        drawn = next_tokens(logits, self._uniforms[:, s], 0.6, 0.98, 0)
        stop, end = self._ends
        return drawn.masked_fill((drawn == stop) | (drawn == end), 0)


def denoiser_request(thoughts: Thoughts, k: int, device: torch.device) -> DenoiserRequest:
    return DenoiserRequest(
        kv_cache=thoughts.kv_cache,
        kv_owner=thoughts.kv_owner,
        action_owner=torch.arange(k, dtype=torch.int32, device=device),
        action_position=thoughts.action_position.to(device),
        noise=trajectory_noise(0, 1, k).to(device),
    )


def made_up_request(k: int, task: Task) -> ReasonerRequest:
    scene = made_up_scene(task.height, task.width)
    files = [file for camera in as_jpeg(scene.frames) for file in camera][: task.images]
    return ReasonerRequest(
        images=[check_image(f"frame {i}", file) for i, file in enumerate(files)],
        ego_history_xyz=scene.ego_history_xyz,
        num_traj_samples=k,
        max_generation_length=task.tokens,
        parameters=Parameters(),
    )


def table(result: Result) -> str:
    """Medians in milliseconds, and how many times the bound that is."""
    ks = list(result["stages"])
    header = ["p50, ms", *(word for k in ks for word in (f"K = {k[1:]}", "times its bound"))]
    rows = [header]
    for name in result["stages"][ks[0]]:
        cells = []
        for k in ks:
            it = result["stages"][k][name]
            over = it.get("p50_over_bound")
            cells += [f"{1e3 * it['p50']:.2f}", "" if over is None else f"{over:.2f}"]
        rows.append([name, *cells])
    best, s = result["roofline"], result["settings"]
    note = (
        f"{s['frames'][0]} frames of {s['frames'][2]} x {s['frames'][1]} as JPEG, {s['checkpoint']}, {s['precision']}; "
        f"the denoiser on {s['denoiser']}. Measured at best: {best['bytes_per_s'] / 1e9:.0f} GB/s, "
        f"{best['operations_per_s'] / 1e12:.2f} TFLOP/s."
    )
    return "\n\n".join([markdown(rows), note, provenance(result)])


if __name__ == "__main__":
    sys.exit(main())
