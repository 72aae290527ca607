"""How `scene/` was made: one of the demo's held-out scenes as files. `python examples/make_scene.py FOLDER`"""

import json
import sys
from pathlib import Path

import numpy as np
from alpamayo_demo.road.scenes import MODEL_CAMERAS, Split, scene
from alpamayo_demo.road.situations import Situation
from PIL import Image

INDEX = {"front wide": 1, "front tele": 6}  # the model's, in whose order the folders are to sort


def main(folder: Path) -> None:
    """Writes a folder of JPEG files for each camera, oldest frame first, and an array for each JSON file."""
    made = scene(Split.HELD_OUT, 0, Situation.LANE_CLOSED_RIGHT)
    for camera, frames in zip(MODEL_CAMERAS, made.image_frames, strict=True):
        place = folder / f"camera{INDEX[camera.name]}_{camera.name.replace(' ', '_')}"
        place.mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(frames):
            Image.fromarray(np.moveaxis(frame, 0, -1)).save(place / f"frame{i}.jpg", quality=95)
    for name in ("ego_history_xyz", "ego_history_rot", "ego_future_xyz"):
        rows = [json.dumps(row) for row in np.round(getattr(made, name).astype(float), 6).tolist()]
        (folder / f"{name}.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
