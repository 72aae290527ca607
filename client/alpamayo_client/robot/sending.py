"""Frames as JPEG files: a tenth of the bytes, and not quite the same pixels. Files from a camera need none of this."""

import io

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_int, check_pixels
from ..errors import InvalidRequestError
from ..extras import extra


def encode_jpeg(image_frames: ArrayLike, quality: int = 90) -> list[list[bytes]]:
    """Frames as files, [camera][frame], for `predict`. Needs the extra `jpeg`.

    image_frames: uint8 RGB (cameras, frames, 3, height, width).
    quality: 1 .. 95. Colours have half the resolution, as in most JPEG files.

    Raises InvalidRequestError, and ImportError without the extra.
    """
    frames = check_pixels(image_frames)
    if not 1 <= check_int("quality", quality) <= 95:
        raise InvalidRequestError(f"quality: got {quality}, wanted 1 (smallest files) .. 95 (best pictures)")
    return [[_encoded(frame, int(quality)) for frame in camera] for camera in frames]


def _encoded(frame: NDArray[np.uint8], quality: int) -> bytes:
    try:
        import PIL.Image
    except ImportError as error:
        raise ImportError(f"JPEG needs one more package ({error}): {extra('jpeg')}") from error
    file = io.BytesIO()
    PIL.Image.fromarray(frame.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
    return file.getvalue()
