"""The request's frames, as they came, to batches of pixels on the device."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from reasoner.images import EncodedImage, ImageSource, read_image
from reasoner.jpeg import JpegDecoder, gpu_jpeg_decoder
from reasoner.laps import Enter, nobody_asks

PIXELS_AT_ONCE = 4 * 1920 * 1080  # on a GPU; resizing takes 12 bytes for each


class FrameReader:
    """Frames one by one on a CPU; on a GPU in batches, JPEG files decoded there if nvImageCodec is installed."""

    def __init__(self, device: torch.device, log: Callable[[str], None]) -> None:
        self._device = device
        self._decode_jpegs: JpegDecoder | None = gpu_jpeg_decoder(device, log) if device.type == "cuda" else None

    def batches(
        self, frames: Sequence[ImageSource], raise_if_stopped: Callable[[], None], enter: Enter = nobody_asks
    ) -> Iterator[Tensor]:
        """(n, 3, height, width) uint8, RGB, in the frames' order; `raise_if_stopped` is called before each.

        Enters the stage decode_images for each, and preprocess, which is what the caller does with it.

        Raises:
            InvalidRequest: a file is broken behind its header.
        """
        at_once = 1 if self._device.type == "cpu" else PIXELS_AT_ONCE
        for same_size in _batched(frames, at_once):
            raise_if_stopped()
            enter("decode_images")
            batch = torch.stack(self._pixels(same_size))
            enter("preprocess")
            yield batch

    def _pixels(self, frames: Sequence[ImageSource]) -> list[Tensor]:
        files = [frame for frame in frames if isinstance(frame, EncodedImage)]
        on_gpu = dict(zip(map(id, files), self._decode_jpegs(files), strict=True)) if self._decode_jpegs else {}
        pixels = (on_gpu.get(id(frame)) for frame in frames)
        return [
            read_image(frame).to(self._device) if there is None else there
            for frame, there in zip(frames, pixels, strict=True)
        ]


def _batched(frames: Sequence[ImageSource], pixels: int) -> Iterator[list[ImageSource]]:
    """Neighbours of one size, together at most so many pixels, but one at least."""
    for (height, width), same_size in groupby(frames, key=_size):
        run = list(same_size)
        n = max(1, pixels // (height * width))
        yield from (run[i : i + n] for i in range(0, len(run), n))


def _size(frame: ImageSource) -> tuple[int, int]:
    height, width = (frame.height, frame.width) if isinstance(frame, EncodedImage) else frame.shape[1:]
    return int(height), int(width)
