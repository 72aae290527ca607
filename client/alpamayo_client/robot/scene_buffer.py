"""From camera frames and poses as they come to a scene that the model can be asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..checks import check_function, check_int
from ..errors import InvalidRequestError, NoSceneError
from ..rigid import finite
from ..scene import Scene
from .buffer_checks import Image, check_cameras, check_image, check_limit, check_offsets
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
MODEL_OFFSETS_MS: Final = tuple((FRAME_OFFSETS_US / 1000).tolist())

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
        frame_offsets_ms: Sequence[float] = MODEL_OFFSETS_MS,
        clock_us: Callable[[], int] | None = None,
    ) -> None:
        """Raises InvalidRequestError.

        cameras: names in the model's order (ascending camera index, `alpamayo_client.cameras`), or the indices
            themselves. The order of names that are not the model's own is yours to know.
        image_tolerance_ms: how far a frame may be from its time in `frame_offsets_ms`.
        pose_gap_ms: how far two poses may be apart for one to be interpolated between them.
        max_lag_ms: how far t0 may be behind the newest frame or pose.
        frames_per_camera: at least one for each of `frame_offsets_ms`; pixels of 1920 x 1080 are 6 MB each.
        frame_offsets_ms: when a camera's frames are wanted, from t0, the last 0. Without it as the released model was
            trained; a model that was trained otherwise (demo/checkpoint: -500, 0) needs its own.
        clock_us: what time it is by the clock of the timestamps: one that is further ahead of it than `max_lag_ms` is
            refused. Without it, a single such one makes everything else stale until `clear()`.
        """
        self.cameras = check_cameras(cameras)
        self._tolerance_us = check_limit("image_tolerance_ms", image_tolerance_ms)
        self._gap_us = check_limit("pose_gap_ms", pose_gap_ms)
        self._lag_us = check_limit("max_lag_ms", max_lag_ms)
        self._offsets_us = check_offsets(frame_offsets_ms)
        self._clock_us = None if clock_us is None else check_function("clock_us", clock_us)
        self._most = check_int("frames_per_camera", frames_per_camera)
        if self._most < len(self._offsets_us):
            raise InvalidRequestError(f"frames_per_camera: got {self._most}, wanted at least {len(self._offsets_us)}")
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        """Forget every frame and pose: after the clock was set back or a time was wrong, or before frames of another
        form.
        """
        keep_us = self._lag_us + self._tolerance_us - int(self._offsets_us[0])
        frames = {it: Timeline[Image](f"frame of camera {it!r}", keep_us, self._most) for it in self.cameras}
        poses = Timeline[Pose]("pose", self._lag_us + self._gap_us - int(POSE_OFFSETS_US[0]), MAX_POSES)
        with self._lock:
            self._frames, self._poses, self._form = frames, poses, ""

    def push_frame(self, camera: str | int, timestamp_us: int, image: bytes | bytearray | memoryview | Any) -> None:
        """`image`: a JPEG or PNG file's bytes, or uint8 RGB (3, height, width) in host memory, which is copied.

        Raises InvalidRequestError if it is neither, of another form than those before, of an unknown camera, too late
        to be of use, or far ahead of `clock_us`: that frame is left out, and the next one is welcome.
        """
        if not isinstance(camera, (str, int, np.integer)) or camera not in self._frames:
            raise InvalidRequestError(f"camera: got {camera!r}, wanted one of {list(self.cameras)}")
        time_us = self._check_time(f"frame of camera {camera!r}", timestamp_us)
        frame = check_image(image)
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
        Raises InvalidRequestError, also if it comes too late to be of use, or is far ahead of `clock_us`.
        """
        time_us = self._check_time("pose", timestamp_us)
        pose = finite("xyz", xyz, (3,)), check_rotation("rotation", rotation)
        with self._lock:
            self._poses.put(time_us, pose)

    def scene(self, t0_us: int | None = None) -> Scene:
        """The scene at `t0_us`, or at the newest time that every camera and the poses have reached.

        Each camera gives the frames nearest to `frame_offsets_ms` from t0, each another one. Poses are
        interpolated at t0-1500, -1400 .. 0 ms (positions linearly, rotations by slerp), never extrapolated. The scene
        knows its `t0_us` and `ego_to_world`, and so will its prediction; and its `frame_offsets_ms`,
        as they came, and `camera_names`.

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
        offsets_ms = []
        for name, (frame_times_us, values) in zip(names, frames, strict=True):
            picked = nearest_distinct(frame_times_us, t0_us + self._offsets_us, self._tolerance_us)
            if picked is None:
                problems.setdefault(name, why_not_frames(frame_times_us, t0_us, self._offsets_us, self._tolerance_us))
            else:
                images.append([values[i] for i in picked])
                offsets_ms.append((frame_times_us[picked] - t0_us) / 1000)
        if reason := why_not_poses(pose_times_us, t0_us, self._gap_us):
            problems.setdefault("poses", reason)
        if problems:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in problems.items())
            raise NoSceneError(f"no scene at t0_us={t0_us}: {reasons}")
        known_xyz, known_quaternions = (np.array(part) for part in zip(*poses, strict=True))
        xyz, rot, ego_to_world = history_at(t0_us, pose_times_us, known_xyz, known_quaternions)
        encoded = isinstance(images[0][0], bytes)
        return Scene(
            images if encoded else np.array(images),
            xyz,
            rot,
            t0_us=t0_us,
            ego_to_world=ego_to_world,
            frame_offsets_ms=np.array(offsets_ms),
            camera_names=[it if isinstance(it, str) else f"camera {it}" for it in self.cameras],
        )

    def _check_time(self, name: str, timestamp_us: int) -> int:
        time_us = check_int("timestamp_us", timestamp_us)
        if self._clock_us is not None and (ahead_us := time_us - self._clock_us()) > self._lag_us:
            raise InvalidRequestError(
                f"{name}: got timestamp_us={time_us}, {ahead_us / 1000:.1f} ms ahead of clock_us, wanted at most "
                f"{self._lag_us / 1000:.1f} ms: it is wrong, or of another clock"
            )
        return time_us
