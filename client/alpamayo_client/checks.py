"""Checks before anything is sent: shapes, types and frames. Ranges and contents are the server's to check."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeGuard, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidRequestError
from .rigid import finite

HISTORY_STEPS = 16
WAYPOINTS = 64
MAX_FRAME_OFFSET_MS = 3_600_000
MAX_TIMEOUT_S = 1e9  # far beyond it, gRPC's own clock overflows
PRIORITIES = 3
UINT8 = ("uint8", "torch.uint8")
IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""How a JPEG or PNG file begins."""
DLPACK_CUDA = 2  # DLPack's number for a CUDA device
ORIGIN_TOLERANCE = 1e-3  # metres from the origin, and deviation of each entry from the identity

Function = TypeVar("Function", bound=Callable[..., Any])

EncodedFrames: TypeAlias = Sequence[Sequence[bytes]]
"""JPEG or PNG files as [camera][frame]."""


def check_frames(image_frames: ArrayLike | EncodedFrames, gpu: bool = False) -> NDArray[Any]:
    """uint8 (cameras, frames, 3, height, width), or object (cameras, frames) of `bytes`.

    `gpu`: an array there is welcome, and stays there; it is returned as it came.
    """
    if gpu and on_gpu(image_frames):
        return check_image_frames(cast(Any, image_frames))
    if hasattr(image_frames, "__array__"):
        return check_image_frames(as_array("image_frames", image_frames))
    return check_encoded_frames(image_frames)


def check_pixels(image_frames: ArrayLike) -> NDArray[np.uint8]:
    """uint8 (cameras, frames, 3, height, width): not encoded images."""
    if not hasattr(image_frames, "__array__"):
        raise InvalidRequestError(
            f"image_frames: got {_kind_of(image_frames)}, wanted an array of pixels; image files go to `predict` as "
            "they are"
        )
    return check_image_frames(as_array("image_frames", image_frames))


def check_image_frames(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (cameras, frames, 3, height, width), nothing empty."""
    if str(frames.dtype) not in UINT8 or frames.ndim != 5 or frames.shape[2] != 3 or 0 in frames.shape:
        raise InvalidRequestError(
            f"image_frames: got {frames.dtype} of shape {frames.shape}, wanted uint8 RGB of shape "
            "(cameras, frames, 3, height, width), or encoded images as nested lists of bytes, [camera][frame]"
        )
    return frames


def on_gpu(array: object) -> bool:
    """An array of torch, CuPy or another library that says so by DLPack."""
    return hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == DLPACK_CUDA


def file_bytes(image: object) -> bytes | None:
    """The content of a file, as `bytes` or as any one row of bytes (ROS's `array`, OpenCV's `imencode`); else None."""
    if isinstance(image, bytes):
        return image
    try:
        view = memoryview(image)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return view.tobytes() if view.format == "B" and view.ndim == 1 else None


def check_encoded_frames(frames: object) -> NDArray[np.object_]:
    """Object (cameras, frames) of `bytes`: as many frames of every camera."""
    wanted = "wanted JPEG or PNG files as nested lists of bytes, [camera][frame], or a uint8 array of pixels"
    if not _is_list(frames) or not all(_is_list(camera) for camera in frames):
        raise InvalidRequestError(f"image_frames: got {_kind_of(frames)}, {wanted}")
    counts = sorted({len(camera) for camera in frames})
    if not counts or counts[0] == 0 or len(counts) > 1:
        raise InvalidRequestError(
            f"image_frames: got {len(frames)} cameras with {counts} frames each, "
            "wanted at least one camera, and the same number of frames, at least one, of every camera"
        )
    files = np.empty((len(frames), counts[0]), dtype=np.object_)
    for i, camera in enumerate(frames):
        for j, frame in enumerate(camera):
            files[i, j] = file_bytes(frame)
            if files[i, j] is None:
                raise InvalidRequestError(f"image_frames[{i}][{j}]: got {type(frame).__name__}, {wanted}")
    return files


def check_frame_offsets(frame_offsets_ms: ArrayLike, cameras: int, frames: int) -> NDArray[np.float64]:
    """(cameras, frames) milliseconds from t0; given (frames,), they are those of every camera."""
    offsets = finite("frame_offsets_ms", frame_offsets_ms, (frames,), (cameras, frames))
    if (np.diff(offsets) < 0).any() or np.abs(offsets).max() > MAX_FRAME_OFFSET_MS:
        raise InvalidRequestError(
            f"frame_offsets_ms: got {offsets.tolist()}, wanted milliseconds from t0, at most an hour, the oldest first"
        )
    return np.broadcast_to(offsets, (cameras, frames)).copy()


def check_camera_names(camera_names: Sequence[str], cameras: int) -> tuple[str, ...]:
    """A name for each camera."""
    if not _is_list(camera_names) or not all(isinstance(name, str) for name in camera_names):
        raise InvalidRequestError(f"camera_names: got {_kind_of(camera_names)}, wanted a list of str")
    if len(camera_names) != cameras:
        raise InvalidRequestError(f"camera_names: got {list(camera_names)}, wanted one for each of {cameras} cameras")
    return tuple(camera_names)


def check_history(
    ego_history_xyz: ArrayLike, ego_history_rot: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(16, 3) metres and (16, 3, 3), float32, in the ego frame at t0; leading (1, 1) axes are dropped."""
    xyz = float_array("ego_history_xyz", ego_history_xyz, (HISTORY_STEPS, 3))
    rot = float_array("ego_history_rot", ego_history_rot, (HISTORY_STEPS, 3, 3))
    todo = "express the history in the ego frame at t0 (x forward, y left, z up), last pose at t0"
    if np.linalg.norm(xyz[-1]) > ORIGIN_TOLERANCE:
        raise InvalidRequestError(
            f"ego_history_xyz: the last position is {xyz[-1].tolist()} m, wanted the origin to 0.001 m: {todo}"
        )
    if np.abs(rot[-1] - np.eye(3)).max() > ORIGIN_TOLERANCE:
        raise InvalidRequestError(
            f"ego_history_rot: the last rotation is {rot[-1].tolist()}, wanted the identity to 0.001: {todo}"
        )
    return xyz, rot


def check_future(ego_future_xyz: ArrayLike) -> NDArray[np.float32]:
    """(64, 3) metres, ego frame at t0, float32; leading (1, 1) axes are dropped."""
    return float_array("ego_future_xyz", ego_future_xyz, (WAYPOINTS, 3))


def check_trajectories(name: str, value: ArrayLike, numbers: int) -> NDArray[np.float32]:
    """(1, sets, samples, 64, numbers) as in an answer, float32, every number finite, at least one trajectory."""
    array = as_array(name, value)
    fits = array.shape[3:] == (WAYPOINTS, numbers) and array.shape[0] == 1 and array.size > 0
    return _finite_floats(name, array, fits, f"(1, sets, samples, {WAYPOINTS}, {numbers})")


def check_reasoning(reasoning: Sequence[str], name: str = "reasoning") -> NDArray[np.object_]:
    """Object (samples,) of UTF-8: one thought per sample."""
    if not _is_list(reasoning) or not reasoning or not all(isinstance(thought, str) for thought in reasoning):
        raise InvalidRequestError(
            f"{name}: got {_kind_of(reasoning)}, wanted a list of at least one str, a thought per sample"
        )
    try:
        return np.array([thought.encode() for thought in reasoning], dtype=np.object_)
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{name}: wanted text that is valid Unicode, got {error}") from error


def check_int(name: str, value: object) -> int:
    """A Python int of at most 64 bits, as Triton's request parameters need it; numpy's are welcome."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise InvalidRequestError(f"{name}: got {value!r}, wanted an integer")
    number = operator.index(value)
    if not -(2**63) <= number < 2**63:
        raise InvalidRequestError(f"{name}: got {number}, wanted an integer of 64 bits")
    return number


def check_float(name: str, value: object) -> float:
    """A Python float, as Triton's request parameters need it; integers and numpy's numbers are welcome."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidRequestError(f"{name}: got {value!r}, wanted a number")
    try:
        return float(value)
    except OverflowError as error:
        raise InvalidRequestError(f"{name}: got an integer beyond the range of a float") from error


def check_timeout(timeout_s: float) -> float:
    """Seconds, above zero and at most MAX_TIMEOUT_S."""
    seconds = check_float("timeout_s", timeout_s)
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise InvalidRequestError(
            f"timeout_s: got {timeout_s}, wanted seconds above zero, at most {MAX_TIMEOUT_S:.0f}, or None for no limit"
        )
    return seconds


def check_priority(priority: int) -> int:
    """Triton's level: 1, 2 or 3; the server's models have three."""
    level = check_int("priority", priority)
    if not 1 <= level <= PRIORITIES:
        raise InvalidRequestError(
            f"priority: got {level}, wanted 1 (before all others) .. {PRIORITIES} (after them), or None for the usual 2"
        )
    return level


def check_function(name: str, value: Function) -> Function:
    """Anything that can be called."""
    if not callable(value):
        raise InvalidRequestError(f"{name}: got {value!r}, wanted a function")
    return value


def float_array(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """`value` as float32 of exactly this shape, every number finite; leading (1, 1) axes are dropped."""
    array = as_array(name, value)
    if array.ndim == len(shape) + 2 and array.shape[:2] == (1, 1):  # the reference's batch axes
        array = array[0, 0]
    return _finite_floats(name, array, array.shape == shape, str(shape))


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """`value` where it lies, if it is in host memory."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of uneven lengths, a tensor on a GPU
        raise InvalidRequestError(f"{name}: wanted an array of numbers in host memory, got {error}") from error


def _finite_floats(name: str, array: NDArray[Any], fits: bool, wanted_shape: str) -> NDArray[np.float32]:
    if array.dtype.kind not in "fiu" or not fits:
        raise InvalidRequestError(
            f"{name}: got {array.dtype} of shape {array.shape}, wanted floating-point numbers of shape {wanted_shape}"
        )
    with np.errstate(over="ignore"):  # too large for float32 is reported as not finite
        array = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise InvalidRequestError(
            f"{name}: {len(bad)} of {array.size} numbers are not finite, the first at {tuple(bad[0].tolist())}, "
            "wanted finite float32 numbers"
        )
    return array


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def _kind_of(value: object) -> str:
    """What a caller passed, in a few words: `list of ndarray`."""
    if not _is_list(value):
        return type(value).__name__
    return f"{type(value).__name__} of {_kind_of(value[0])}" if value else f"an empty {type(value).__name__}"
