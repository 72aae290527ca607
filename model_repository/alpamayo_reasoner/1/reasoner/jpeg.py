"""JPEG files decoded on the GPU by nvJPEG, through nvImageCodec where that is installed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from reasoner.images import EncodedImage

JpegDecoder = Callable[[Sequence[EncodedImage]], list[Tensor | None]]
"""(3, height, width) uint8, RGB, of each file; None of those that are for Pillow."""

_START, _END = b"\xff\xd8", b"\xff\xd9"


def gpu_jpeg_decoder(device: torch.device, log: Callable[[str], None]) -> JpegDecoder | None:
    """A decoder on that GPU, or None, which `log` is told."""
    try:
        from nvidia import nvimgcodec

        # Chroma is interpolated as libjpeg does it, so that pixels are those of a CPU within a level or two.
        decoder = nvimgcodec.Decoder(device_id=device.index or 0, options=":fancy_upsampling=1")
    except (ImportError, RuntimeError) as error:
        log(f"JPEG frames are decoded on the CPU: {error}; pip install 'alpamayo-triton[nvjpeg]'")
        return None
    log(f"JPEG frames are decoded on the GPU by nvImageCodec {nvimgcodec.__version__}")
    return jpeg_decoder(nvimgcodec, decoder, from_dlpack)


def jpeg_decoder(nvimgcodec: Any, decoder: Any, to_tensor: Callable[[Any], Tensor]) -> JpegDecoder:
    """`decoder` for EncodedImages; `to_tensor` makes a tensor of its images."""
    as_they_lie = nvimgcodec.DecodeParams(
        apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB, sample_format=nvimgcodec.SampleFormat.P_RGB
    )

    def decode(files: Sequence[EncodedImage]) -> list[Tensor | None]:
        pixels: list[Tensor | None] = [None] * len(files)
        # What is cut off is for Pillow to refuse: nvJPEG may make something of it.
        whole = [i for i, it in enumerate(files) if it.data.startswith(_START) and it.data.rstrip(b"\0").endswith(_END)]
        images = decoder.decode([nvimgcodec.CodeStream(files[i].data) for i in whole], params=as_they_lie)
        for i, image in zip(whole, images, strict=True):
            if image is not None:
                tensor = to_tensor(image)
                if tensor.shape == (3, files[i].height, files[i].width):
                    pixels[i] = tensor
        return pixels

    return decode
