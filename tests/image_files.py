"""Image files that no camera writes: by hand, since Pillow writes no such things either."""

import io
import struct
import zlib

from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    depth: int,
    color: int,
    rows: bytes | None,
    *,
    before: bytes = b"",
    behind: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """Pillow writes no 16-bit RGB, and no header without an image. `before`, `behind`: chunks around the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    data = b"" if rows is None else chunk(b"IDAT", zlib.compress(rows, 9))
    return PNG_START + header + before + data + behind + chunk(b"IEND", b"")


def compressed_text(size: int) -> bytes:
    """A chunk of text that inflates to so many zeros."""
    return chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(size), 9))


def many_scans(image: Image.Image, more: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    file = encode(image, "JPEG", progressive=True)
    last, end = file.rindex(b"\xff\xda"), file.rindex(b"\xff\xd9")
    return file[:end] + file[last:end] * more + file[end:]


def of_another_kind(jpeg: bytes, start_of_frame: int, precision: int = 8) -> bytes:
    """A baseline JPEG whose header says that it is coded otherwise: 0xC3 lossless, 0xC9 arithmetic."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 1] + bytes([start_of_frame]) + jpeg[at + 2 : at + 4] + bytes([precision]) + jpeg[at + 5 :]
