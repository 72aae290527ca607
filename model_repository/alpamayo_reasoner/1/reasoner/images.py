"""Camera frames to the vision tower's patches, as the reference computes them, in plain torch."""

import io
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from contract import MAX_IMAGE_ASPECT, MAX_IMAGE_SIDE, MIN_IMAGE_SIDE, InvalidRequest
from PIL import Image, UnidentifiedImageError
from torch import Tensor

PATCH = 16
MERGE = 2  # patches a side that become one token
CELL = PATCH * MERGE
TEMPORAL_PATCH = 2

Image.MAX_IMAGE_PIXELS = None  # check_size knows better, and looks before anything is decoded

MAX_HEADER_BYTES = 2**20  # what lies before the pixels: Pillow takes half a second for a megabyte of the worst kind
MAX_FILE_BYTES = 2**25  # and as long for what lies between and behind them
MAX_SCANS = 100  # of a progressive JPEG, which has about ten; each is a pass over all pixels, in as few as 100 bytes

_MODES = ("RGB", "L", "1")
_JPEG_SIGNATURE = b"\xff\xd8"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH_AT = 24  # signature, chunk length and type, width, height


def check_size(name: str, height: int, width: int) -> None:
    short, long = sorted((height, width))
    if short < MIN_IMAGE_SIDE or long > MAX_IMAGE_SIDE or long > MAX_IMAGE_ASPECT * short:
        raise InvalidRequest(
            f"{name} is {width} x {height} pixels; wanted sides of {MIN_IMAGE_SIDE} .. {MAX_IMAGE_SIDE}, "
            f"at most {MAX_IMAGE_ASPECT} : 1"
        )


@dataclass(frozen=True)
class EncodedImage:
    """A JPEG or PNG file whose header has been checked; its pixels wait until they are needed."""

    name: str  # for messages
    data: bytes
    height: int
    width: int


ImageSource = npt.NDArray[np.uint8] | Tensor | EncodedImage  # pixels: (3, height, width), RGB


def check_image(name: str, data: object) -> EncodedImage:
    """Looks at the header of a JPEG or PNG file; nothing is decoded.

    Raises:
        InvalidRequest: not such a file, of a refused size, or with alpha, CMYK or more than 8 bits.
    """
    if not isinstance(data, bytes):
        raise InvalidRequest(f"{name} must be the bytes of a JPEG or PNG file, got {type(data).__name__}")
    _check_bounded(name, data)
    with _opened(name, data[:MAX_HEADER_BYTES]) as image:
        check_size(name, image.height, image.width)
        _check_pixels(name, image, data)
        return EncodedImage(name, data, image.height, image.width)


def read_image(source: ImageSource) -> Tensor:
    """(3, height, width) uint8, RGB, where it lies. A file's EXIF orientation is ignored.

    Raises:
        InvalidRequest: the file is broken behind its header.
    """
    if isinstance(source, EncodedImage):
        with _opened(source.name, source.data) as image:
            source = np.array(image.convert("RGB")).transpose(2, 0, 1)
    return source if isinstance(source, Tensor) else torch.from_numpy(source)


@contextmanager
def _opened(name: str, data: bytes) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            yield image
    except InvalidRequest:
        raise
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, zlib.error ...
        why = "" if isinstance(error, UnidentifiedImageError) else f": {error}"  # that one names a Python object
        raise InvalidRequest(
            f"{name} must be a readable JPEG or PNG file; got {len(data)} bytes starting {data[:8].hex(' ')!r}{why}"
        ) from error


def _check_bounded(name: str, data: bytes) -> None:
    """What the size in pixels does not bound: time."""
    if len(data) > MAX_FILE_BYTES:
        raise InvalidRequest(f"{name} is a file of {len(data)} bytes; wanted at most {MAX_FILE_BYTES}")
    scans = data.count(b"\xff\xda") if data.startswith(_JPEG_SIGNATURE) else 0
    if scans > MAX_SCANS:
        raise InvalidRequest(f"{name} is a JPEG of {scans} scans; wanted at most {MAX_SCANS}")


def _check_pixels(name: str, image: Image.Image, data: bytes) -> None:
    what = _unwanted(image, data)
    if what:
        raise InvalidRequest(f"{name} is a {image.format} of {what}; wanted 8-bit RGB or grey, without alpha")
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1:
        raise InvalidRequest(f"{name} holds {pictures} pictures; wanted one")


def _unwanted(image: Image.Image, data: bytes) -> str | None:
    """What is wrong with its pixels, where Pillow would drop or make up something without a word."""
    if data.startswith(_PNG_SIGNATURE) and data[_PNG_BIT_DEPTH_AT] > 8:
        return "16 bits"
    if "transparency" in image.info:
        return f"mode {image.mode} with transparency"
    if image.mode == "P":
        return "mode P without its palette" if image.palette is None else None
    return None if image.mode in _MODES else f"mode {image.mode}"


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


def preprocess(batches: Iterable[Tensor], min_pixels: int, max_pixels: int) -> tuple[Tensor, Tensor]:
    """Resizes, normalises and cuts images into patches, batch after batch: full-sized ones are not kept.

    Args:
        batches: uint8 (3, height, width) or (n, 3, height, width), RGB; sizes may differ from one to the next.
        min_pixels: of an image after resizing.
        max_pixels: likewise.

    Returns:
        pixel_values (patches, 1536) float32, on the images' device, and image_grid_thw (images, 3), on the CPU: the
        patch grid of every image.
    """
    patches: list[Tensor] = []
    grids: list[tuple[int, int, int]] = []
    for batch in batches:
        images = batch.reshape(-1, *batch.shape[-3:])
        height, width = smart_resize(images.shape[2], images.shape[3], min_pixels, max_pixels)
        resize = resize_in_float if images.is_cuda else _resize
        patches.append(_patches(resize(images, height, width)).flatten(0, 1))
        grids += [(1, height // PATCH, width // PATCH)] * len(images)
    return torch.cat(patches), torch.tensor(grids)


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    """(n, 3, h, w) uint8. In uint8, as the reference does it, for which only CPUs have a kernel."""
    channels_last = images.contiguous(memory_format=torch.channels_last)  # the fast kernel's layout
    return F.interpolate(channels_last, (height, width), mode="bicubic", antialias=True)


def resize_in_float(images: Tensor, height: int, width: int) -> Tensor:
    """The same on a GPU; it differs from the reference by up to 2 levels of 255, where that has rounded twice."""
    resized = F.interpolate(images.float(), (height, width), mode="bicubic", antialias=True)
    return resized.round_().clamp_(0, 255)


def _patches(images: Tensor) -> Tensor:
    """(n, 3, height, width) to (n, patches, 3 x 2 x 16 x 16), patches in 2 x 2 merge order."""
    n, channels, height, width = images.shape
    normalized = (images.float() / 255 - 0.5) / 0.5
    grid = normalized.reshape(n, channels, height // CELL, MERGE, PATCH, width // CELL, MERGE, PATCH)
    patches = grid.permute(0, 2, 5, 3, 6, 1, 4, 7)  # n, rows, columns, row in cell, column in cell, channel, y, x
    # A still image fills both frames of the temporal patch.
    patches = patches.unsqueeze(6).expand(*patches.shape[:6], TEMPORAL_PATCH, PATCH, PATCH)
    return patches.reshape(n, -1, channels * TEMPORAL_PATCH * PATCH * PATCH)
