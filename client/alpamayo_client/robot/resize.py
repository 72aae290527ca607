"""Frames resized on the robot to what the model sees, bit for bit as a server on a CPU resizes them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_pixels
from ..errors import InvalidRequestError
from .bicubic import MIDDLE, between


def resize_for_model(image_frames: ArrayLike, metadata: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Frames in the size in which the model sees them: the server leaves these as they are, and answers the same.

    That holds for a server on a CPU, which resizes as the reference does. One on a GPU resizes in floating point, up to
    2 levels of 255 beside it: there, frames resized here are the more faithful ones.
    Very long frames (9 : 1 and more) that the server would resize a second time come back unchanged.

    image_frames: uint8 RGB (cameras, frames, 3, height, width).
    metadata: what `AlpamayoClient.metadata()` says; it stays the same while the server runs.

    Raises InvalidRequestError.
    """
    frames = check_pixels(image_frames)
    height, width = frames.shape[-2:]
    size = model_size(height, width, metadata)
    return resize(frames, *size) if model_size(*size, metadata) == size else frames


def model_size(height: int, width: int, metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width in which the model sees a frame of that size. Raises InvalidRequestError."""
    images = metadata.get("images")
    if not isinstance(images, Mapping) or not images.keys() >= {"multiple_of", "min_pixels", "max_pixels"}:
        raise InvalidRequestError(
            f"metadata: its images are {images!r}, wanted multiple_of, min_pixels and max_pixels, which an older "
            "alpamayo-export did not record: export the repository again"
        )
    cell, fewest, most = images["multiple_of"], images["min_pixels"], images["max_pixels"]
    new_height, new_width = round(height / cell) * cell, round(width / cell) * cell
    if new_height * new_width > most:
        shrink = math.sqrt(height * width / most)
        new_height = max(cell, math.floor(height / shrink / cell) * cell)
        new_width = max(cell, math.floor(width / shrink / cell) * cell)
    elif new_height * new_width < fewest:
        grow = math.sqrt(fewest / (height * width))
        new_height, new_width = (math.ceil(side * grow / cell) * cell for side in (height, width))
    return new_height, new_width


def resize(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """uint8 (..., old height, old width) to (..., height, width), as torch's `interpolate` of uint8 with
    `mode="bicubic", antialias=True` does it: columns first, then rows.
    """
    old_height, old_width = images.shape[-2:]
    columns, rows = between(old_width, width), between(old_height, height)
    resized = np.empty((*images.shape[:-2], height, width), np.uint8)
    for index in np.ndindex(*images.shape[:-2]):  # a plane at a time stays in the processor's cache
        pixels = np.subtract(images[index], MIDDLE, dtype=np.float32)
        if width != old_width:
            pixels = columns(pixels.T).T
        if height != old_height:
            pixels = rows(pixels)
        np.add(pixels, MIDDLE, out=resized[index], casting="unsafe")
    return resized
