"""A driving scene in a file: what a prediction is asked for, and what was driven then if that is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import is_zipfile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import (
    EncodedFrames,
    check_camera_names,
    check_frame_offsets,
    check_frames,
    check_future,
    check_history,
    check_int,
)
from .errors import InvalidRequestError
from .rigid import check_rigid


@dataclass(frozen=True, eq=False)
class Scene:
    """What `predict` is asked about, and the future. Frame: the ego frame at t0; x forward, y left, z up.

    Raises InvalidRequestError if a shape, type or frame is wrong.
    """

    image_frames: ArrayLike | EncodedFrames
    """uint8 RGB (cameras, frames, 3, height, width), or JPEG or PNG files as nested lists of bytes, [camera][frame].
    Pixels may be on the GPU, of any library that speaks DLPack: for a client with shared_memory="cuda"; `save` and the
    pictures want them in host memory.
    """
    ego_history_xyz: ArrayLike
    """(16, 3) metres, 10 Hz, the last at t0: the origin."""
    ego_history_rot: ArrayLike
    """(16, 3, 3), the last is the identity."""
    ego_future_xyz: ArrayLike | None = None
    """(64, 3) metres at t0 + 0.1 s .. 6.4 s: what was driven."""
    t0_us: int | None = None
    """Microseconds of the caller's own clock: with it, a prediction knows its absolute times."""
    ego_to_world: ArrayLike | None = None
    """(4, 4) from the ego frame at t0 to the caller's world frame, metres: with it, a prediction knows its world."""
    frame_offsets_ms: ArrayLike | None = None
    """When the frames were taken, milliseconds from t0, oldest first: (cameras, frames), or (frames,) if all cameras
    agree. For looking at the scene on a timeline: it is not sent.
    """
    camera_names: Sequence[str] | None = None
    """One for each camera, for pictures."""

    def __post_init__(self) -> None:
        frames = check_frames(self.image_frames, gpu=True)
        check_history(self.ego_history_xyz, self.ego_history_rot)
        if self.ego_future_xyz is not None:
            check_future(self.ego_future_xyz)
        if self.t0_us is not None:
            check_int("t0_us", self.t0_us)
        if self.ego_to_world is not None:
            check_rigid("ego_to_world", self.ego_to_world)
        if self.frame_offsets_ms is not None:
            check_frame_offsets(self.frame_offsets_ms, *frames.shape[:2])
        if self.camera_names is not None:
            check_camera_names(self.camera_names, frames.shape[0])

    def save(self, path: str | Path) -> None:
        """Write an `.npz`; encoded images stay as they are."""
        frames = check_frames(self.image_frames)
        arrays: dict[str, Any] = _pack(frames) if frames.dtype == np.object_ else {"image_frames": frames}
        arrays["ego_history_xyz"], arrays["ego_history_rot"] = check_history(self.ego_history_xyz, self.ego_history_rot)
        if self.ego_future_xyz is not None:
            arrays["ego_future_xyz"] = check_future(self.ego_future_xyz)
        if self.t0_us is not None:
            arrays["t0_us"] = np.int64(self.t0_us)
        if self.ego_to_world is not None:
            arrays["ego_to_world"] = check_rigid("ego_to_world", self.ego_to_world)
        if self.frame_offsets_ms is not None:
            arrays["frame_offsets_ms"] = check_frame_offsets(self.frame_offsets_ms, *frames.shape[:2])
        if self.camera_names is not None:
            arrays["camera_names"] = np.array(self.camera_names, dtype=np.str_)
        with open(path, "wb") as file:  # given a name, numpy would append .npz to it
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Scene:
        """Read an `.npz`. Raises OSError if it cannot be opened, InvalidRequestError if what it holds is no scene."""
        with open_npz(path) as file:
            arrays = _read_npz(file)
            frames = arrays["image_frames"] if "image_frames" in arrays else _unpack(arrays)
            return cls(
                frames,
                _part(arrays, "ego_history_xyz"),
                _part(arrays, "ego_history_rot"),
                arrays.get("ego_future_xyz"),
                check_int("t0_us", arrays["t0_us"][()]) if "t0_us" in arrays else None,
                arrays.get("ego_to_world"),
                arrays.get("frame_offsets_ms"),
                arrays["camera_names"].tolist() if "camera_names" in arrays else None,
            )


@contextmanager
def open_npz(path: str | Path) -> Iterator[BinaryIO]:
    """An archive's file, for the block. Raises OSError if it cannot be opened.

    Whatever reading it in the block raises is raised as an InvalidRequestError that names it.
    """
    with open(path, "rb") as file:
        try:
            if not is_zipfile(file):
                raise InvalidRequestError("wanted a scene written by numpy.savez (.npz), this is something else")
            file.seek(0)
            yield file
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{path}: {error}") from error
        except Exception as error:  # odd content makes zipfile and numpy raise almost anything, MemoryError among it
            raise InvalidRequestError(
                f"{path}: not a scene of plain arrays: {type(error).__name__}: {error}"
            ) from error


def _pack(frames: NDArray[np.object_]) -> dict[str, NDArray[Any]]:
    """Files of different lengths without pickle: one after the other, and their lengths (cameras, frames)."""
    lengths = np.array([[len(file) for file in camera] for camera in frames], dtype=np.int64)
    return {
        "encoded_frames": np.frombuffer(b"".join(frames.ravel().tolist()), dtype=np.uint8),
        "encoded_lengths": lengths,
    }


def _unpack(arrays: dict[str, NDArray[Any]]) -> list[list[bytes]]:
    """[camera][frame] of bytes."""
    packed, lengths = _part(arrays, "encoded_frames"), _part(arrays, "encoded_lengths")
    if packed.dtype != np.uint8 or packed.ndim != 1 or lengths.dtype != np.int64 or lengths.ndim != 2:
        raise InvalidRequestError(
            f"encoded_frames, encoded_lengths: got {packed.dtype} {packed.shape} and {lengths.dtype} {lengths.shape}, "
            "wanted uint8 (bytes,), all files one after the other, and int64 (cameras, frames)"
        )
    if lengths.size == 0 or lengths.min() < 0 or lengths.sum() != packed.size:
        raise InvalidRequestError(
            f"encoded_lengths: got {lengths.tolist()}, wanted lengths that add up to the {packed.size} bytes "
            "of encoded_frames"
        )
    data, ends = packed.tobytes(), np.cumsum(lengths).reshape(lengths.shape)
    return [
        [data[end - length : end] for end, length in zip(camera_ends, camera_lengths, strict=True)]
        for camera_ends, camera_lengths in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]


def _read_npz(file: BinaryIO) -> dict[str, NDArray[Any]]:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _part(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in arrays:
        raise InvalidRequestError(
            f"has {sorted(arrays)} but not {name!r}; a scene has ego_history_xyz, ego_history_rot, image_frames "
            "(or encoded_frames and encoded_lengths) and, if known, ego_future_xyz, t0_us, ego_to_world, "
            "frame_offsets_ms and camera_names"
        )
    return arrays[name]
