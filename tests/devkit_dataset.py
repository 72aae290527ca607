"""A small PhysicalAI-Autonomous-Vehicles dataset in the devkit's own files, in a Hugging Face cache.

What is in it is known: a frame's picture spells its camera and its number; the car drives a circle, on a plane that
is tilted and far from the world's origin.
"""

import io
import json
import zipfile
from contextlib import contextmanager

import av
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

REVISION = "0123456789abcdef0123456789abcdef01234567"
CAMERAS = (
    "camera_cross_left_120fov",
    "camera_front_wide_120fov",
    "camera_cross_right_120fov",
    "camera_front_tele_30fov",
)
CHUNK = 7
SECONDS, FPS = 14, 30
BITS, BAR = 12, 8  # two of the camera, ten of the frame; pixels
HEIGHT, WIDTH = 64, BITS * BAR
RADIUS_M, SPEED_MPS = 50.0, 10.0
TURN_RADPS = SPEED_MPS / RADIUS_M
PLANE = Rotation.from_euler("zyx", [130, 8, -5], degrees=True)
FAR_M = np.array([448_000.0, 5_411_000.0, 310.0])


@contextmanager
def offline():
    """As HF_HUB_OFFLINE=1 would do it, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


def write_dataset(cache, clip_ids):
    """In `cache`, for `cache_dir`; a clip's camera frames and poses are the same as another's."""
    root = cache / "datasets--nvidia--PhysicalAI-Autonomous-Vehicles" / "snapshots" / REVISION
    features = [_feature("labels", "egomotion", {"egomotion": "{clip_id}.egomotion.parquet"})]
    _write_zip(root / _chunk(features[0]), {f"{clip}.egomotion.parquet": _parquet(egomotion()) for clip in clip_ids})
    for number, camera in enumerate(CAMERAS):
        members = {"video": f"{{clip_id}}.{camera}.mp4", "frame_timestamps": f"{{clip_id}}.{camera}.timestamps.parquet"}
        features.append(_feature("camera", camera, members))
        files = {
            "mp4": _video(number),
            "timestamps.parquet": _parquet(pd.DataFrame({"timestamp": frame_times_us()})),
        }
        members = {f"{clip}.{camera}.{kind}": data for clip in clip_ids for kind, data in files.items()}
        _write_zip(root / _chunk(features[-1]), members)
    pd.DataFrame(features).to_csv(root / "features.csv", index=False)
    clips = pd.Index(clip_ids, name="clip_id")
    pd.DataFrame({"chunk": CHUNK, "split": "test"}, clips).to_parquet(root / "clip_index.parquet")
    (root / "metadata").mkdir()
    present = pd.DataFrame(True, clips, [feature["feature"] for feature in features])
    present.to_parquet(root / "metadata" / "feature_presence.parquet")
    pd.DataFrame({"country": "nowhere"}, clips).to_parquet(root / "metadata" / "data_collection.parquet")
    return root


def frame_times_us():
    """Of every frame, on the clip's clock."""
    return np.arange(SECONDS * FPS, dtype=np.int64) * 1_000_000 // FPS


def egomotion():
    """20 poses per second, in the world."""
    times_us = np.arange(0, SECONDS * 1_000_000, 50_000, dtype=np.int64)
    xyz, yaw = circle(times_us / 1e6)
    xyz = PLANE.apply(xyz) + FAR_M
    quaternion = (PLANE * Rotation.from_euler("z", yaw[:, None])).as_quat()
    zero = dict.fromkeys(("vx", "vy", "vz", "ax", "ay", "az"), 0.0)
    columns = dict(zip(("x", "y", "z", "qx", "qy", "qz", "qw"), [*xyz.T, *quaternion.T], strict=True))
    return pd.DataFrame({"timestamp": times_us, **columns, **zero, "curvature": 1 / RADIUS_M})


def circle(seconds):
    """(n, 3) metres and (n,) radians of a car that turns left, from the origin along x."""
    yaw = TURN_RADPS * np.asarray(seconds)
    return np.stack([RADIUS_M * np.sin(yaw), RADIUS_M * (1 - np.cos(yaw)), 0 * yaw], axis=-1), yaw


def picture(camera, frame):
    """(height, width) of grey: a white bar for each bit that is 1."""
    bits = (camera << 10 | frame) >> np.arange(BITS) & 1
    return np.broadcast_to(np.repeat(bits * 255, BAR).astype(np.uint8), (HEIGHT, WIDTH))


def spelled(image):
    """(camera, frame) of a picture (3, height, width)."""
    bits = image.mean(axis=(0, 1)).reshape(BITS, BAR).mean(axis=1) > 127
    number = int((bits << np.arange(BITS)).sum())
    return number >> 10, number & 1023


def _video(camera):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(SECONDS * FPS):
            rgb = np.repeat(picture(camera, number)[..., None], 3, axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _feature(directory, feature, members):
    path = f"{directory}/{feature}/{feature}.chunk_{{chunk_id:04d}}.zip"
    return {"feature": feature, "directory": directory, "chunk_path": path, "clip_files_in_zip": json.dumps(members)}


def _chunk(feature):
    return feature["chunk_path"].format(chunk_id=CHUNK)


def _parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def _write_zip(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
