"""`make demo`: a checkpoint exported, served, and asked about a scene, with the commands that a user would type.

The checkpoint is the tests': random weights in the released layout. It draws scribbles; the way is the real one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from alpamayo_client.scene import Scene
from alpamayo_serve.serving import serving
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
OUTPUT = ROOT / "out" / "demo"

RELEASED_WEIGHTS = """
With the released weights (22 GB, gated; the README says what a GPU needs):
  .venv/bin/hf download nvidia/Alpamayo-R1-10B --local-dir Alpamayo-R1-10B
  .venv/bin/hf download Qwen/Qwen3-VL-8B-Instruct --exclude '*.safetensors' \\
      --local-dir Alpamayo-R1-10B/Qwen/Qwen3-VL-8B-Instruct
  .venv/bin/alpamayo-export Alpamayo-R1-10B --output repository
  .venv/bin/alpamayo-serve repository
  .venv/bin/alpamayo predict --scene YOUR_SCENE.npz --output out/predict
"""


def run(*command: str | Path) -> None:
    """One of the console scripts beside this Python, echoed."""
    program, *arguments = (str(word) for word in command)
    print(
        f"\n$ {program} {' '.join(os.path.relpath(a) if Path(a).is_absolute() else a for a in arguments)}", flush=True
    )
    subprocess.run([str(Path(sys.executable).with_name(program)), *arguments], check=True)


def example_scene(path: Path) -> None:
    """The 16-frame scene of the golden vectors, as the client's scene file."""
    vectors = load_file(GOLDEN / "greedy" / "vectors.safetensors")
    Scene(
        image_frames=vectors["frames"],
        ego_history_xyz=vectors["ego_history_xyz"][0, 0],
        ego_history_rot=vectors["ego_history_rot"][0, 0],
    ).save(path)


def main() -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    repository, scene, log = OUTPUT / "repository", OUTPUT / "scene.npz", OUTPUT / "server.log"
    run("alpamayo-export", GOLDEN / "checkpoint", "--output", repository)
    example_scene(scene)
    print(f"\n$ alpamayo-serve {os.path.relpath(repository)}", flush=True)
    started = time.monotonic()
    with serving(repository, log) as endpoints:
        print(f"ready after {time.monotonic() - started:.0f} s, gRPC on {endpoints.address}:{endpoints.grpc_port}")
        url = f"{endpoints.address}:{endpoints.grpc_port}"
        run("alpamayo", "predict", "--url", url, "--scene", scene, "--output", OUTPUT, "--num-traj-samples", "6")
    print(RELEASED_WEIGHTS)
    print(f"The picture: {OUTPUT / 'prediction.png'}")


if __name__ == "__main__":
    main()
