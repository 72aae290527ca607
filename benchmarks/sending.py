"""What it costs to send frames in each of several ways, and what that does to the trajectory.

Bytes and seconds: 16 made-up frames of 1920 x 1080 and a checkpoint of the released image size; the ways in turns. The
frames are noisy: those of a camera make smaller JPEG files.

The trajectory: the demo's checkpoint, because it drives. Its cameras have 160 x 96 pixels, and so do its images after
resizing; its frames are enlarged 12 times, with a smooth filter, and sent in every way with the same seeds. What a way
does to so small a picture it does not do to a large one: this is an example, not a promise.
"""

import argparse
import re
import shlex
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from alpamayo_client import AlpamayoClient, Prediction, encode_jpeg, resize_for_model
from alpamayo_client.metrics import min_ade
from alpamayo_client.request import build_request
from alpamayo_demo.errors import check_between
from alpamayo_demo.evaluate.cases import check_choice, make_cases
from alpamayo_demo.evaluate.predictions import Sampling, ask
from alpamayo_demo.measured_on import describe, provenance
from alpamayo_demo.report import Result, markdown, report
from alpamayo_demo.road.scenes import Split
from alpamayo_demo.served import CHECKPOINT, shown
from alpamayo_serve.serving import serving
from latency import Seconds, exported, parts_of
from numpy.typing import NDArray
from PIL import Image
from scenes import GOLDEN, JPEG_QUALITY, Scene, made_up_scene
from tqdm import tqdm

PARAMETERS = {"num_traj_samples": 1, "max_generation_length": 9, "inference_steps": 10, "top_k": 1, "seed": 0}
STAGES = ("decode_images", "preprocess")  # of the server: what the way changes
ENLARGED = 12


@dataclass(frozen=True)
class Way:
    """How frames go to the server: what is done to them before, and whether they lie in shared memory."""

    label: str
    resized: bool = False
    jpeg: bool = False
    shared: bool = False

    def prepared(self, frames: NDArray[np.uint8], metadata: Mapping[str, Any]) -> Any:
        """What `predict` takes: pixels, or files."""
        if self.resized:
            frames = resize_for_model(frames, metadata)
        return encode_jpeg(frames, JPEG_QUALITY) if self.jpeg else frames


WAYS = {
    "raw": Way("raw"),
    "resized": Way("resized on the robot", resized=True),
    "jpeg": Way("JPEG", jpeg=True),
    "resized_jpeg": Way("resized, JPEG", resized=True, jpeg=True),
    "shared": Way("raw, shared memory", shared=True),
    "resized_shared": Way("resized, shared memory", resized=True, shared=True),
}


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: bad input or a server that fails, with a line on stderr; 2: wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    golden = GOLDEN / "checkpoint"
    cli.add_argument("source", nargs="?", type=Path, default=golden, help="checkpoint or repository, for the seconds")
    cli.add_argument("--rounds", type=int, default=10, metavar="N", help="timed calls a way (default: %(default)s)")
    cli.add_argument(
        "--scenes-per-situation", type=int, default=1, metavar="N", help="of the demo (default: %(default)s)"
    )
    cli.add_argument("--first-seed", type=int, default=0, metavar="N", help="of the scenes (default: %(default)s)")
    cli.add_argument("--output", type=Path, metavar="FILE.json", help="write the result to this file")
    args = cli.parse_args(argv)
    command = shlex.join(["python", "benchmarks/sending.py", *argv])
    work = partial(measure, args.source, args.rounds, args.scenes_per_situation, args.first_seed, command)
    return report("sending.py", work, table, args.output)


def measure(source: Path, rounds: int, per_situation: int, first_seed: int, command: str) -> Result:
    """Bytes, seconds and distances for every way. Raises one of EXPECTED."""
    check_between("--rounds", rounds, 1)
    check_choice(per_situation, first_seed)
    machine, scene = describe(), made_up_scene()
    with serving_ways(source) as (clients, metrics_url):
        served = clients["raw"].metadata()
        sizes = {name: bytes_sent(way, scene, served) for name, way in WAYS.items()}
        seconds = in_turns(clients, metrics_url, scene, served, rounds)
    with serving_ways(CHECKPOINT) as (clients, _):
        demo = clients["raw"].metadata()
        driven = drive(clients, demo, per_situation, first_seed)
    return {
        "benchmark": "sending",
        "command": command,
        "machine": machine,
        "settings": {
            "checkpoint": shown(source),
            "scene": scene.name,
            "frames": list(scene.frames.shape),
            "jpeg_quality": JPEG_QUALITY,
            "rounds": rounds,
            "parameters": PARAMETERS,
        },
        "served": served,
        "bytes": sizes,
        "seconds": {name: parts_of(it) for name, it in seconds.items()},
        "trajectory": {"checkpoint": shown(CHECKPOINT), "first_seed": first_seed, "served": demo, **driven},
    }


@contextmanager
def serving_ways(source: Path) -> Iterator[tuple[dict[str, AlpamayoClient], str]]:
    """A client for every way, and the URL of the server's metrics, for the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alpamayo-sending-")))
        endpoints = stack.enter_context(serving(stack.enter_context(exported(source)), folder / "log"))
        url = f"{endpoints.address}:{endpoints.grpc_port}"
        clients = {
            name: stack.enter_context(AlpamayoClient(url, shared_memory="system" if way.shared else None))
            for name, way in WAYS.items()
        }
        yield clients, f"http://{endpoints.address}:{endpoints.metrics_port}/metrics"


def bytes_sent(way: Way, scene: Scene, metadata: Mapping[str, Any]) -> dict[str, int]:
    """`frames`: what they take as they are sent; `grpc`: of it, what goes over the connection."""
    sent = build_request(way.prepared(scene.frames, metadata), scene.ego_history_xyz, scene.ego_history_rot, {}).inputs
    frames = sum(map(len, sent["encoded_frames"].flat)) if way.jpeg else sent["image_frames"].nbytes
    return {"frames": frames, "grpc": 0 if way.shared else frames}


def in_turns(
    clients: Mapping[str, AlpamayoClient], metrics_url: str, scene: Scene, metadata: Mapping[str, Any], rounds: int
) -> dict[str, list[Seconds]]:
    """Every way once in every round; one round before is not counted."""
    timings: dict[str, list[Seconds]] = {name: [] for name in WAYS}
    for counted in tqdm([False, *[True] * rounds], desc="rounds"):
        for name, way in WAYS.items():
            seconds = time_one(clients[name], partial(way.prepared, scene.frames, metadata), metrics_url, scene)
            if counted:
                timings[name].append(seconds)
    return timings


def time_one(client: AlpamayoClient, prepare: Callable[[], Any], metrics_url: str, scene: Scene) -> Seconds:
    """Of one request: on the `robot` before the call, the `call`, and of that in the server's STAGES and `models`."""
    stages, models, start = stage_seconds(metrics_url), client.stage_times(), time.perf_counter()
    frames = prepare()
    asked = time.perf_counter()
    parameters: dict[str, Any] = PARAMETERS
    client.predict(frames, scene.ego_history_xyz, scene.ego_history_rot, **parameters)
    answered = time.perf_counter()
    computing = sum(stage.compute_s for stage in client.stage_times(since=models).values())
    after = stage_seconds(metrics_url)
    return {
        "total": answered - start,
        "robot": asked - start,
        "call": answered - asked,
        "models": computing,
        **{stage: after[stage] - stages[stage] for stage in STAGES},
    }


def stage_seconds(metrics_url: str) -> dict[str, float]:
    """What the server has spent in STAGES since it started; 0 in those that it has not entered."""
    with urllib.request.urlopen(metrics_url) as response:
        text = response.read().decode()
    found = (re.search(rf'^alpamayo_stage_seconds_sum{{.*stage="{it}".*}} (\S+)$', text, re.M) for it in STAGES)
    return {stage: float(match[1]) if match else 0.0 for stage, match in zip(STAGES, found, strict=True)}


def drive(
    clients: Mapping[str, AlpamayoClient], metadata: Mapping[str, Any], per_situation: int, first_seed: int
) -> dict[str, Any]:
    """How far every way's trajectories are from those of raw frames, in metres, and from what was driven."""
    cases, sampling = make_cases(Split.HELD_OUT, per_situation, first_seed), Sampling()
    found: dict[str, list[Prediction]] = {name: [] for name in WAYS}
    for index, case in enumerate(tqdm(cases, desc="driving", unit="scene")):
        frames = enlarged(case.scene.image_frames)
        for name, way in WAYS.items():
            found[name].append(ask(clients[name], case.scene, sampling, index, frames=way.prepared(frames, metadata)))
    futures = [case.scene.ego_future_xyz for case in cases]
    return {
        "scenes": len(cases),
        "samples": sampling.samples,
        "frames": list(frames.shape),
        "ways": {name: compared(predictions, found["raw"], futures) for name, predictions in found.items()},
    }


def compared(
    predictions: Sequence[Prediction], raw: Sequence[Prediction], futures: Sequence[NDArray[np.float32]]
) -> dict[str, float]:
    """Distances of waypoints from raw frames' in metres; the share of other thoughts; the mean of minADE@K."""
    apart = np.stack(
        [np.linalg.norm(it.pred_xyz - other.pred_xyz, axis=-1) for it, other in zip(predictions, raw, strict=True)]
    )
    pairs = zip(predictions, raw, strict=True)
    return {
        "mean_m": float(apart.mean()),
        "max_m": float(apart.max()),
        "other_thoughts": float(np.mean([it.cot != other.cot for it, other in pairs])),
        "min_ade_m": float(np.mean([min_ade(it.pred_xyz, to) for it, to in zip(predictions, futures, strict=True)])),
    }


def enlarged(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(cameras, frames, 3, height, width) to ENLARGED times the height and width."""
    height, width = frames.shape[-2:]
    size = width * ENLARGED, height * ENLARGED
    images = [
        np.array(Image.fromarray(frame.transpose(1, 2, 0)).resize(size, Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        for frame in frames.reshape(-1, 3, height, width)
    ]
    return np.stack(images).reshape(*frames.shape[:2], 3, size[1], size[0])


def table(result: Result) -> str:
    """A row for every way; times are medians."""
    rows = [["", "frames, MB", "through gRPC, MB", "on the robot, ms", "call, ms", "outside the models, ms"]]
    rows[0] += ["decoding and resizing at the server, ms", "off the trajectories of raw frames, m: mean (most)"]
    rows[0] += [f"minADE@{result['trajectory']['samples']}, m"]
    for name, way in WAYS.items():
        size, seconds, driven = result["bytes"][name], result["seconds"][name], result["trajectory"]["ways"][name]
        p50 = {part: 1e3 * it["p50"] for part, it in seconds.items()}
        server = sum(p50[stage] for stage in STAGES)
        times = [p50["robot"], p50["call"], p50["call"] - p50["models"], server]
        megabytes = [f"{size[it] / 1e6:.1f}" for it in ("frames", "grpc")]
        apart = f"{driven['mean_m']:.3f} ({driven['max_m']:.2f})"
        rows.append([way.label, *megabytes, *(f"{it:.0f}" for it in times), apart, f"{driven['min_ade_m']:.3f}"])
    s, t = result["settings"], result["trajectory"]
    (cameras, frames, _, height, width), (*_, demo_height, demo_width) = s["frames"], t["frames"]
    note = (
        f"Bytes and times: {cameras} x {frames} frames of {width} x {height}, noisy ones, sent to "
        f"{s['checkpoint']} {s['rounds']} times. Trajectories: {t['scenes']} held-out scenes of {t['checkpoint']}, its "
        f"frames enlarged to {demo_width} x {demo_height}. JPEG of quality {s['jpeg_quality']}."
    )
    return "\n\n".join([markdown(rows), note, provenance(result)])


if __name__ == "__main__":
    sys.exit(main())
