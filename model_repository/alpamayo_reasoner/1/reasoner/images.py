"""Camera frames to the vision tower's patches, as the reference computes them, in plain torch."""

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from contract import MAX_IMAGE_ASPECT, MAX_IMAGE_SIDE, MIN_IMAGE_SIDE, InvalidRequest
from PIL import Image
from torch import Tensor

PATCH = 16
MERGE = 2  # patches a side that become one token
CELL = PATCH * MERGE
TEMPORAL_PATCH = 2

_MODES = ("RGB", "L")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH_AT = 24  # signature, chunk length and type, width, height


def check_size(name: str, height: int, width: int) -> None:
    short, long = sorted((height, width))
    if short < MIN_IMAGE_SIDE or long > MAX_IMAGE_SIDE or long > MAX_IMAGE_ASPECT * short:
        raise InvalidRequest(
            f"{name} is {width} x {height} pixels; wanted sides of {MIN_IMAGE_SIDE} .. {MAX_IMAGE_SIDE}, "
            f"at most {MAX_IMAGE_ASPECT} : 1"
        )


def decode_image(name: str, data: object) -> npt.NDArray[np.uint8]:
    """A JPEG or PNG file to (height, width, 3) RGB. Its EXIF orientation is ignored.

    Raises:
        InvalidRequest: not such a file, broken, of a refused size, or with alpha, CMYK or more than 8 bits.
    """
    if not isinstance(data, bytes):
        raise InvalidRequest(f"{name} must be the bytes of a JPEG or PNG file, got {type(data).__name__}")
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        check_size(name, image.height, image.width)  # from the header, before anything is decoded
        _check_pixels(name, image, data)
        return np.array(image.convert("RGB"))
    except InvalidRequest:
        raise
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, zlib.error ...
        raise InvalidRequest(
            f"{name} must be a readable JPEG or PNG file; got {len(data)} bytes starting {data[:8].hex(' ')!r}: {error}"
        ) from error


def _check_pixels(name: str, image: Image.Image, data: bytes) -> None:
    deep = data.startswith(_PNG_SIGNATURE) and data[_PNG_BIT_DEPTH_AT] > 8  # Pillow would silently drop the low bits
    palette = image.mode == "P" and "transparency" not in image.info
    if deep or (image.mode not in _MODES and not palette) or "transparency" in image.info:
        what = "16 bits" if deep else f"mode {image.mode}{' with transparency' if 'transparency' in image.info else ''}"
        raise InvalidRequest(f"{name} is a {image.format} of {what}; wanted 8-bit RGB or grey, without alpha")


def smart_resize(height: int, width: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Qwen-VL's target size: multiples of 32, about the same aspect, min_pixels .. max_pixels in all."""
    new_height, new_width = round(height / CELL) * CELL, round(width / CELL) * CELL
    if new_height * new_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        new_height = max(CELL, math.floor(height / shrink / CELL) * CELL)
        new_width = max(CELL, math.floor(width / shrink / CELL) * CELL)
    elif new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * grow / CELL) * CELL
        new_width = math.ceil(width * grow / CELL) * CELL
    return new_height, new_width


def preprocess(images: Sequence[Tensor], min_pixels: int, max_pixels: int) -> tuple[Tensor, Tensor]:
    """Resizes, normalises and cuts images into patches.

    Args:
        images: uint8 (3, height, width), RGB; sizes may differ.
        min_pixels: of an image after resizing.
        max_pixels: likewise.

    Returns:
        pixel_values (patches, 1536) float32, and image_grid_thw (images, 3): the patch grid of every image.
    """
    patches: list[Tensor] = []
    grids: list[tuple[int, int, int]] = []
    for same_size in _runs_of_one_size(images):
        _, old_height, old_width = same_size[0].shape
        height, width = smart_resize(old_height, old_width, min_pixels, max_pixels)
        patches.append(_patches(_resize(torch.stack(same_size), height, width)))
        grids += [(1, height // PATCH, width // PATCH)] * len(same_size)
    return torch.cat(patches), torch.tensor(grids)


def _runs_of_one_size(images: Sequence[Tensor]) -> list[list[Tensor]]:
    runs: list[list[Tensor]] = []
    for image in images:
        if runs and runs[-1][0].shape == image.shape:
            runs[-1].append(image)
        else:
            runs.append([image])
    return runs


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    """(n, 3, h, w) uint8. In uint8, as the reference does: going through float differs by up to 2 levels of 255."""
    channels_last = images.contiguous(memory_format=torch.channels_last)  # the fast kernel's layout
    return F.interpolate(channels_last, (height, width), mode="bicubic", antialias=True)


def _patches(images: Tensor) -> Tensor:
    """(n, 3, height, width) to (n x patches, channels x 2 x 16 x 16), patches in 2 x 2 merge order."""
    n, channels, height, width = images.shape
    normalized = (images.float() / 255 - 0.5) / 0.5
    grid = normalized.reshape(n, channels, height // CELL, MERGE, PATCH, width // CELL, MERGE, PATCH)
    patches = grid.permute(0, 2, 5, 3, 6, 1, 4, 7)  # n, rows, columns, row in cell, column in cell, channel, y, x
    # A still image fills both frames of the temporal patch.
    patches = patches.unsqueeze(6).expand(*patches.shape[:6], TEMPORAL_PATCH, PATCH, PATCH)
    return patches.reshape(-1, channels * TEMPORAL_PATCH * PATCH * PATCH)
