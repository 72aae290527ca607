"""What the model would do if it thought otherwise: `python what_if.py localhost:8001 scene what_if.png`"""

import json
import sys
from pathlib import Path

import numpy as np
from alpamayo_client import AlpamayoClient, Scene, compare

THOUGHTS = [
    "Keep the lane at a steady speed.",
    "Slow down for the vehicle ahead.",
    "Wait for the pedestrian at the crossing.",
    "",
]


def main(url: str, folder: Path, picture: str) -> None:
    """Asks about the scene, prints the distances between the outcomes, and draws them."""
    cameras = {
        camera.name: [file.read_bytes() for file in sorted(camera.glob("*.jpg"))]
        for camera in sorted(folder.glob("camera*"))
    }
    names = ("ego_history_xyz", "ego_history_rot", "ego_future_xyz")
    xyz, rot, future = (np.array(json.loads((folder / f"{name}.json").read_text())) for name in names)
    scene = Scene(list(cameras.values()), xyz, rot, future, camera_names=list(cameras))
    with AlpamayoClient(url) as client:
        client.wait_until_ready()
        comparison = compare(client, scene, THOUGHTS, seed=1)
    for thought, apart_m in zip(comparison.thoughts, comparison.distances_m, strict=True):
        print(f"{apart_m[0]:6.2f} m   {thought or '(no thought)'}")
    comparison.save_picture(picture)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
