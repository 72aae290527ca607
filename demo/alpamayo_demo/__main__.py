"""`make demo`: a checkpoint exported and served, asked about one scene of each situation, and left to drive; with the
commands that a user would type.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from alpamayo_client import AlpamayoClient, Scene
from alpamayo_serve.serving import serving

from .drive import planners
from .drive.loop import drive
from .drive.rules import judge, line
from .pictures.animation import save_animation
from .pictures.sheet import Answered, sheet
from .report import EXPECTED
from .road.routes import route
from .road.scenes import FRAME_OFFSETS_MS, MODEL_CAMERAS, DrivingScene, Split, moment, observe
from .road.situations import Situation
from .served import CHECKPOINT, GIVE_UP_S, ROOT
from .terminated import cleaning_up_on_sigterm

OUTPUT = ROOT / "out" / "demo"
SEED, ROUTE, ROUTE_S = 0, 0, 20.0  # of the held-out scenes; of the drive
SHOWN = Situation.LANE_CLOSED_RIGHT  # to `alpamayo predict`

RELEASED_WEIGHTS = """
With the released weights (22 GB, gated; the README says what a GPU needs):
  .venv/bin/hf download nvidia/Alpamayo-R1-10B --local-dir Alpamayo-R1-10B
  .venv/bin/hf download Qwen/Qwen3-VL-8B-Instruct --exclude '*.safetensors' \\
      --local-dir Alpamayo-R1-10B/Qwen/Qwen3-VL-8B-Instruct
  .venv/bin/alpamayo-export Alpamayo-R1-10B --output repository
  .venv/bin/alpamayo-serve repository
  .venv/bin/alpamayo predict --scene YOUR_SCENE.npz --output out/predict
"""


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: something failed, with a line on stderr; 2: wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m alpamayo_demo", description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=CHECKPOINT, help="default: demo/checkpoint")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER", help="default: out/demo")
    arguments = parser.parse_args(argv)
    try:
        with cleaning_up_on_sigterm():
            show(arguments.checkpoint, arguments.output)
    except subprocess.CalledProcessError as error:  # it has said why
        return int(error.returncode)
    except EXPECTED as error:
        print(f"alpamayo_demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("alpamayo_demo: interrupted", file=sys.stderr)
        return 130
    return 0


def show(checkpoint: Path, output: Path) -> None:
    """All of it, into the folder `output`."""
    begun = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    repository, scene = output / "repository", output / "scene.npz"
    run("alpamayo-export", checkpoint, "--output", repository)
    print(f"\n$ alpamayo-serve {os.path.relpath(repository)}", flush=True)
    started = time.monotonic()
    with serving(repository, output / "server.log") as endpoints:
        url = f"{endpoints.address}:{endpoints.grpc_port}"
        print(f"ready after {time.monotonic() - started:.0f} s, gRPC on {url}")
        with AlpamayoClient(url) as client:
            ask_about_situations(client, output / "situations.png")
            drive_a_route(client, output / "drive.gif")
        save_scene(observe(moment(Split.HELD_OUT, SEED, SHOWN)), scene)
        run("alpamayo", "predict", "--url", url, "--scene", scene, "--output", output, "--num-traj-samples", "6")
    print(f"\nAll of it in {time.monotonic() - begun:.0f} s.")
    print(RELEASED_WEIGHTS)
    for picture in ("situations.png", "drive.gif", "prediction.png"):
        print(f"The picture: {output / picture}")


def run(*command: str | Path) -> None:
    """One of the console scripts beside this Python, echoed. Raises CalledProcessError."""
    program, *arguments = (str(word) for word in command)
    shown = (os.path.relpath(a) if Path(a).is_absolute() else a for a in arguments)
    print(f"\n$ {program} {' '.join(shown)}", flush=True)
    subprocess.run([str(Path(sys.executable).with_name(program)), *arguments], check=True)


def ask_about_situations(client: AlpamayoClient, path: Path) -> None:
    """One scene of each, six samples; the sheet goes to `path`."""
    answers = []
    for situation in Situation:
        found = moment(Split.HELD_OUT, SEED, situation)
        scene = observe(found)
        prediction = client.predict(
            scene.image_frames,
            scene.ego_history_xyz,
            scene.ego_history_rot,
            num_traj_samples=6,
            seed=SEED,
            timeout_s=GIVE_UP_S,
        )
        answers.append(Answered(found, scene, prediction))
    sheet(answers).save(path)
    right = sum(answer.right(0) for answer in answers)
    print(f"\nAsked about one unseen scene of each situation: {right} of {len(answers)} thoughts name it", flush=True)


def drive_a_route(client: AlpamayoClient, path: Path) -> None:
    """In closed loop; the animation goes to `path`."""
    ticks, own = (drive(*route(ROUTE), planner, ROUTE_S) for planner in (planners.model(client), planners.driver))
    save_animation(path, ticks)
    print(f"Drove route {ROUTE} for {ROUTE_S:.0f} s: {line(judge(ticks, own))}", flush=True)


def save_scene(scene: DrivingScene, path: Path) -> None:
    """As the client's scene file."""
    Scene(
        scene.image_frames,
        scene.ego_history_xyz,
        scene.ego_history_rot,
        scene.ego_future_xyz,
        frame_offsets_ms=FRAME_OFFSETS_MS,
        camera_names=[camera.name for camera in MODEL_CAMERAS],
    ).save(path)


if __name__ == "__main__":
    sys.exit(main())
