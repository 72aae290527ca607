"""From camera frames and poses as they come to a scene that the model can be asked about."""

import math
from collections.abc import Sequence
from threading import Lock
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_float, check_int
from ..errors import InvalidRequestError, NoSceneError
from ..rigid import finite
from ..scene import Scene
from .poses import Array, check_rotation, history_at
from .selection import (
    FRAME_OFFSETS_US,
    POSE_OFFSETS_US,
    choose_t0,
    nearest_distinct,
    why_not_frames,
    why_not_poses,
)
from .timeline import Timeline

MAX_POSES: Final = 10_000

Image: TypeAlias = bytes | NDArray[np.uint8]
Pose: TypeAlias = tuple[Array, Array]
"""Position (3,) and unit quaternion (4,), scalar last."""


class SceneBuffer:
    """Camera frames and poses by their times, and the scene that they make at a time t0. For any number of threads.

    Times are int microseconds of one clock, the caller's. Frames and poses may come late and out of order; one of the
    same time again replaces the earlier. Kept is what a scene may still need, and never more than `frames_per_camera`
    and 10,000 poses. All frames of a buffer are encoded, or all are pixels of one size.
    """

    def __init__(
        self,
        cameras: Sequence[str] | Sequence[int],
        *,
        image_tolerance_ms: float = 50.0,
        pose_gap_ms: float = 200.0,
        max_lag_ms: float = 500.0,
        frames_per_camera: int = 64,
    ) -> None:
        """Raises InvalidRequestError.

        cameras: names in the model's order (ascending camera index), or the indices themselves.
        image_tolerance_ms: how far a frame may be from t0-300, -200, -100 or 0 ms.
        pose_gap_ms: how far two poses may be apart for one to be interpolated between them.
        max_lag_ms: how far t0 may be behind the newest frame or pose.
        frames_per_camera: at least 4; pixels of 1920 x 1080 are 6 MB each.
        """
        self.cameras = _check_cameras(cameras)
        self._tolerance_us = _check_limit("image_tolerance_ms", image_tolerance_ms)
        self._gap_us = _check_limit("pose_gap_ms", pose_gap_ms)
        self._lag_us = _check_limit("max_lag_ms", max_lag_ms)
        self._most = check_int("frames_per_camera", frames_per_camera)
        if self._most < len(FRAME_OFFSETS_US):
            raise InvalidRequestError(f"frames_per_camera: got {self._most}, wanted at least {len(FRAME_OFFSETS_US)}")
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        """Forget every frame and pose: after the clock was set back, or before frames of another form."""
        keep_us = self._lag_us + self._tolerance_us - int(FRAME_OFFSETS_US[0])
        frames = {it: Timeline[Image](f"frame of camera {it!r}", keep_us, self._most) for it in self.cameras}
        poses = Timeline[Pose]("pose", self._lag_us + self._gap_us - int(POSE_OFFSETS_US[0]), MAX_POSES)
        with self._lock:
            self._frames, self._poses, self._form = frames, poses, ""

    def push_frame(self, camera: str | int, timestamp_us: int, image: bytes | bytearray | memoryview | Any) -> None:
        """`image`: a JPEG or PNG file's bytes, or uint8 RGB (3, height, width), which is copied.

        Raises InvalidRequestError if it is neither, of another form than those before, of an unknown camera, or too
        late to be of use.
        """
        if camera not in self._frames:
            raise InvalidRequestError(f"camera: got {camera!r}, wanted one of {list(self.cameras)}")
        time_us = check_int("timestamp_us", timestamp_us)
        frame = _check_image(image)
        form = "encoded" if isinstance(frame, bytes) else f"uint8 of shape {frame.shape}"
        with self._lock:
            if self._form not in ("", form):
                raise InvalidRequestError(
                    f"image: camera {camera!r} got one that is {form} after others that were {self._form}; "
                    "wanted all encoded, or all pixels of one size: clear() the buffer to change"
                )
            self._frames[camera].put(time_us, frame)
            self._form = form

    def push_pose(self, timestamp_us: int, xyz: ArrayLike, rotation: ArrayLike) -> None:
        """Where the ego frame (x forward, y left, z up) was in the world frame.

        xyz: (3,) metres; however far from the world's origin: it stays float64 until it is relative to t0.
        rotation: from the ego frame to the world frame, a unit quaternion (x, y, z, w) or a matrix (3, 3).
        Raises InvalidRequestError, also if it comes too late to be of use.
        """
        time_us = check_int("timestamp_us", timestamp_us)
        pose = finite("xyz", xyz, (3,)), check_rotation("rotation", rotation)
        with self._lock:
            self._poses.put(time_us, pose)

    def scene(self, t0_us: int | None = None) -> Scene:
        """The scene at `t0_us`, or at the newest time that every camera and the poses have reached.

        Each camera gives the four frames nearest to t0-300, -200, -100 and 0 ms, each another one. Poses are
        interpolated at t0-1500, -1400 .. 0 ms (positions linearly, rotations by slerp), never extrapolated. The scene
        knows its `t0_us` and `ego_to_world`, and so will its prediction.

        Raises NoSceneError with everything that is missing, late or stale, in milliseconds.
        """
        if t0_us is not None:
            t0_us = check_int("t0_us", t0_us)
        with self._lock:
            frames = [timeline.snapshot() for timeline in self._frames.values()]
            pose_times_us, poses = self._poses.snapshot()
        names = [f"camera {camera!r}" for camera in self.cameras]
        times_us = dict(zip(names, (times for times, _ in frames), strict=True)) | {"poses": pose_times_us}
        t0_us, problems = choose_t0(times_us, t0_us, self._lag_us)
        images: list[list[Any]] = []
        for name, (frame_times_us, values) in zip(names, frames, strict=True):
            picked = nearest_distinct(frame_times_us, t0_us + FRAME_OFFSETS_US, self._tolerance_us)
            if picked is None:
                problems.setdefault(name, why_not_frames(frame_times_us, t0_us, self._tolerance_us))
            else:
                images.append([values[i] for i in picked])
        if reason := why_not_poses(pose_times_us, t0_us, self._gap_us):
            problems.setdefault("poses", reason)
        if problems:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in problems.items())
            raise NoSceneError(f"no scene at t0_us={t0_us}: {reasons}")
        known_xyz, known_quaternions = (np.array(part) for part in zip(*poses, strict=True))
        xyz, rot, ego_to_world = history_at(t0_us, pose_times_us, known_xyz, known_quaternions)
        encoded = isinstance(images[0][0], bytes)
        return Scene(images if encoded else np.array(images), xyz, rot, t0_us=t0_us, ego_to_world=ego_to_world)


def _check_image(image: Any) -> Image:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    pixels = np.array(image)  # a camera's driver may fill the same memory again
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.size == 0:
        raise InvalidRequestError(
            f"image: got {pixels.dtype} of shape {pixels.shape}, wanted a JPEG or PNG file's bytes, or uint8 RGB of "
            "shape (3, height, width): transpose(2, 0, 1) of (height, width, 3)"
        )
    return pixels


def _check_cameras(cameras: Sequence[str] | Sequence[int]) -> tuple[str | int, ...]:
    if isinstance(cameras, str) or len(cameras) == 0 or len(set(cameras)) < len(cameras):
        raise InvalidRequestError(f"cameras: got {cameras!r}, wanted at least one name or index, each once")
    if not all(isinstance(it, str) for it in cameras):
        indices = [check_int("cameras", it) for it in cameras]
        if indices != sorted(indices):
            raise InvalidRequestError(f"cameras: got {indices}, wanted ascending indices: the model's order")
        return tuple(indices)
    return tuple(cameras)


def _check_limit(name: str, limit_ms: float) -> int:
    """Microseconds."""
    limit = check_float(name, limit_ms)
    if not 0 <= limit < math.inf:
        raise InvalidRequestError(f"{name}: got {limit_ms}, wanted milliseconds, finite and not negative")
    return round(limit * 1000)
