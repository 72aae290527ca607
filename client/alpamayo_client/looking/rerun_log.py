"""Scenes and predictions in a recording of Rerun: a file, for which no viewer is started and nothing is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr
from numpy.typing import ArrayLike

from ..checks import check_frame_offsets, check_frames, check_future, check_history, check_int
from ..choosing import Index
from ..errors import InvalidRequestError
from ..prediction import Prediction
from ..rigid import check_rigid, finite
from ..robot.selection import STEP_US
from ..robot.sending import encode_jpeg
from ..scene import Scene
from ..text import reasoning_text

TIMELINE = "time"
LATEST_US = 9 * 10**15  # 285 years: Rerun counts nanoseconds in 64 bits
JPEG_QUALITY = 95
PNG = b"\x89PNG"
CHOSEN: dict[str, Any] = {"colors": [255, 150, 30], "radii": rr.Radius.ui_points(4)}
DRIVEN: dict[str, Any] = {"colors": [220, 60, 220]}
HISTORY: dict[str, Any] = {"colors": [130, 130, 130]}


@contextmanager
def save_recording(path: str | Path) -> Iterator[rr.RecordingStream]:
    """A recording that becomes the file `path` (.rrd), which is whole when the block ends. Raises OSError."""
    with open(path, "wb"):  # Rerun's own error is a RuntimeError
        pass
    recording = rr.RecordingStream("alpamayo")
    recording.save(path)
    try:
        yield recording
    finally:
        recording.disconnect()


def save_scene(path: str | Path, scene: Scene, prediction: Prediction, chosen: Index | None = None) -> None:
    """One scene as an `.rrd`; the origin of its world, if it knows one, is where the car is at t0. See `log_scene`."""
    here = None if scene.ego_to_world is None else check_rigid("ego_to_world", scene.ego_to_world)[:3, 3]
    with save_recording(path) as recording:
        log_scene(recording, scene, prediction, world_origin_m=here, chosen=chosen)


def set_time(recording: rr.RecordingStream, time_us: int) -> None:
    """Where on the timeline the next things are logged."""
    recording.set_time(TIMELINE, duration=np.timedelta64(time_us, "us"))


def log_scene(
    recording: rr.RecordingStream,
    scene: Scene,
    prediction: Prediction,
    t0_us: int | None = None,
    world_origin_m: ArrayLike | None = None,
    chosen: Index | None = None,
) -> None:
    """What was seen, what was predicted, and what was driven if that is known, on the timeline `time`.

    cameras/N: the images, each at its own time: `scene.frame_offsets_ms`, or, if they are not known, as the released
        model wants them, 0.1 s apart, the newest at t0. Pixels become JPEG, files stay as they are.
    world/ego/history, trajectories, chosen, driven: at t0, metres, in the ego frame at t0 (x forward, y left, z up).
        All trajectories, set after set, with a colour per thought.
    world/ego: at t0, the pose in the scene's world (z up), if it knows one; without, the world is the ego frame.
        Either all scenes of a recording know theirs, or none.
    thoughts: at t0, a line per thought.

    t0_us: where t0 is on the timeline, microseconds; None: the scene's `t0_us`, or 0 if it has none.
    world_origin_m: (3,), a place near the drive in the world frame, the same for all scenes of a recording: it becomes
        the origin, for Rerun keeps positions as float32, which far from it are half a metre off. None: the world's own.
    chosen: (set, sample) of the trajectory that is followed. None: `prediction.medoid()`.

    Raises InvalidRequestError if one of them is wrong.
    """
    t0_us = _check_time(scene.t0_us or 0 if t0_us is None else t0_us)
    origin_m = finite("world_origin_m", np.zeros(3) if world_origin_m is None else world_origin_m, (3,))
    chosen = prediction.medoid() if chosen is None else _check_chosen(chosen, prediction)
    _log_cameras(recording, scene, t0_us)
    set_time(recording, t0_us)
    if scene.ego_to_world is None:
        recording.log("world", rr.ViewCoordinates.FLU, static=True)
    else:
        recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        pose = check_rigid("ego_to_world", scene.ego_to_world)
        recording.log("world/ego", rr.Transform3D(translation=pose[:3, 3] - origin_m, mat3x3=pose[:3, :3]))
    _log_trajectories(recording, scene, prediction, chosen)
    recording.log("thoughts", rr.TextDocument(reasoning_text(prediction)))


def _log_cameras(recording: rr.RecordingStream, scene: Scene, t0_us: int) -> None:
    frames = check_frames(scene.image_frames)
    files = encode_jpeg(frames, JPEG_QUALITY) if frames.dtype == np.uint8 else frames
    cameras, count = frames.shape[:2]
    offsets_ms = scene.frame_offsets_ms
    if offsets_ms is None:
        offsets_ms = np.arange(1 - count, 1) * STEP_US / 1000
    cameras_ms = check_frame_offsets(offsets_ms, cameras, count)
    for camera, (images, times_ms) in enumerate(zip(files, cameras_ms, strict=True)):
        for offset_ms, image in zip(times_ms, images, strict=True):
            set_time(recording, t0_us + round(offset_ms * 1000))
            media_type = "image/png" if image.startswith(PNG) else "image/jpeg"
            recording.log(f"cameras/{camera}", rr.EncodedImage(contents=image, media_type=media_type))


def _log_trajectories(recording: rr.RecordingStream, scene: Scene, prediction: Prediction, chosen: Index) -> None:
    history, _ = check_history(scene.ego_history_xyz, scene.ego_history_rot)
    recording.log("world/ego/history", rr.LineStrips3D([history], **HISTORY))
    indices = list(np.ndindex(prediction.cot.shape[1:]))
    recording.log(
        "world/ego/trajectories",
        rr.LineStrips3D(
            [prediction.pred_xyz[0][index] for index in indices],
            class_ids=[sample for _, sample in indices],
            labels=[_name(index) for index in indices],
            show_labels=False,
        ),
    )
    recording.log(
        "world/ego/chosen", rr.LineStrips3D([prediction.pred_xyz[0][chosen]], labels=[_name(chosen)], **CHOSEN)
    )
    # An unknown future is logged too: that of the scene before would stay.
    driven = [] if scene.ego_future_xyz is None else [check_future(scene.ego_future_xyz)]
    recording.log("world/ego/driven", rr.LineStrips3D(driven, **DRIVEN))


def _name(index: tuple[int, ...]) -> str:
    return f"set {index[0]}, thought {index[1]}"


def _check_chosen(chosen: Index, prediction: Prediction) -> Index:
    sets, samples = prediction.cot.shape[1:]
    given = tuple(check_int("chosen", it) for it in chosen) if isinstance(chosen, tuple) else ()
    if len(given) != 2 or not (0 <= given[0] < sets and 0 <= given[1] < samples):
        raise InvalidRequestError(
            f"chosen: got {chosen!r}, wanted a tuple (set, sample), from (0, 0) to {(sets - 1, samples - 1)}"
        )
    return given[0], given[1]


def _check_time(t0_us: int) -> int:
    time_us = check_int("t0_us", t0_us)
    if abs(time_us) > LATEST_US:
        raise InvalidRequestError(f"t0_us: got {time_us}, wanted microseconds from {-LATEST_US} to {LATEST_US}")
    return time_us
