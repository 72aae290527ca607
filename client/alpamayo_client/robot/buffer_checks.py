"""Checks of what a SceneBuffer is made with, and of the images that it is given."""

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..cameras import CAMERAS
from ..checks import IMAGE_STARTS, MAX_FRAME_OFFSET_MS, as_array, check_float, check_int, file_bytes
from ..errors import InvalidRequestError
from .selection import Times

Image: TypeAlias = bytes | NDArray[np.uint8]


def check_image(image: Any) -> Image:
    """A copy: a JPEG or PNG file's bytes, or uint8 (3, height, width)."""
    wanted = "wanted a JPEG or PNG file's bytes, or uint8 RGB of shape (3, height, width)"
    file = file_bytes(image)
    if file is not None:
        if not file.startswith(IMAGE_STARTS):
            raise InvalidRequestError(f"image: got {len(file)} bytes that start with {file[:8].hex(' ')!r}, {wanted}")
        return file
    pixels = np.array(as_array("image", image))  # a camera's driver may fill the same memory again
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.size == 0:
        raise InvalidRequestError(
            f"image: got {pixels.dtype} of shape {pixels.shape}, {wanted}: transpose(2, 0, 1) of (height, width, 3)"
        )
    return pixels


def check_cameras(cameras: Any) -> tuple[str | int, ...]:
    """All names, or all indices, in the model's order as far as that can be told."""
    given = list(cameras) if isinstance(cameras, Iterable) and not isinstance(cameras, (str, bytes)) else []
    if not all(isinstance(it, str) for it in given):
        given = [check_int("cameras", it) for it in given]
    if not given or len(set(given)) < len(given):
        raise InvalidRequestError(f"cameras: got {cameras!r}, wanted a list of at least one name or index, each once")
    known = [it for it in given if isinstance(it, int) or it in CAMERAS]
    ordered = sorted(known, key=lambda it: it if isinstance(it, int) else CAMERAS.index(it))
    if known != ordered:
        raise InvalidRequestError(f"cameras: got {known}, wanted the model's order, ascending camera index: {ordered}")
    return tuple(given)


def check_offsets(offsets_ms: Any) -> Times:
    """Microseconds from t0."""
    given = list(offsets_ms) if isinstance(offsets_ms, Iterable) else []
    offsets = np.round([check_float("frame_offsets_ms", it) * 1000 for it in given])
    ascending = given and np.isfinite(offsets).all() and (np.diff(offsets) > 0).all()
    if not ascending or offsets[-1] != 0 or offsets[0] < -1000 * MAX_FRAME_OFFSET_MS:
        raise InvalidRequestError(
            f"frame_offsets_ms: got {offsets_ms!r}, wanted ascending milliseconds, each once, the last 0: t0, the "
            "first an hour before it at most"
        )
    return offsets.astype(np.int64)


def check_limit(name: str, limit_ms: float) -> int:
    """Microseconds."""
    limit = check_float(name, limit_ms)
    if not 0 <= limit < math.inf:
        raise InvalidRequestError(f"{name}: got {limit_ms}, wanted milliseconds, finite and not negative")
    return round(limit * 1000)
