"""Frames to batches; nvImageCodec on a CPU, where it has a decoder of its own behind the same interface."""

import io

import numpy as np
import pytest
import torch
from contract import InvalidRequest
from PIL import Image
from reasoner.frames import PIXELS_AT_ONCE, FrameReader, _batched
from reasoner.images import check_image, read_image, resize_in_float, smart_resize
from reasoner.jpeg import jpeg_decoder

nvimgcodec = pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec has no wheel for this platform")


@pytest.fixture
def picture():
    coarse = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((160, 96), Image.Resampling.BICUBIC)


def file(picture, kind="JPEG", **options):
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def frames(*sizes):
    return [torch.full((3, *size), i, dtype=torch.uint8) for i, size in enumerate(sizes)]


def test_frames_come_one_by_one_on_a_cpu_each_after_a_look_at_the_clock():
    looked = []
    reader = FrameReader(torch.device("cpu"), print)
    batches = list(reader.batches(frames((40, 50), (40, 50), (50, 40)), lambda: looked.append(1)))
    assert [tuple(batch.shape) for batch in batches] == [(1, 3, 40, 50), (1, 3, 40, 50), (1, 3, 50, 40)]
    assert [int(batch.max()) for batch in batches] == [0, 1, 2]
    assert len(looked) == 3


def test_batches_are_neighbours_of_one_size_within_the_limit():
    sizes = [(1080, 1920)] * 6 + [(8192, 8192)] * 2 + [(540, 960)] * 3 + [(1080, 1920)]
    pixels = [np.broadcast_to(np.uint8(0), (3, *size)) for size in sizes]
    assert [len(batch) for batch in _batched(pixels, PIXELS_AT_ONCE)] == [4, 2, 1, 1, 3, 1]
    assert sum(_batched(pixels, PIXELS_AT_ONCE), []) == pixels  # noqa: RUF017  # in order, none lost


@pytest.fixture
def on_cpu():
    """The decoder as a GPU would have it, but for where it decodes."""
    decoder = nvimgcodec.Decoder(
        device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
        backends=[nvimgcodec.Backend(nvimgcodec.BackendKind.CPU_ONLY)],
        options=":fancy_upsampling=1",
    )
    return jpeg_decoder(nvimgcodec, decoder, lambda image: torch.from_numpy(np.asarray(image)))


def test_jpeg_files_are_decoded_as_pillow_does_it(on_cpu, picture):
    turned = Image.Exif()
    turned[0x0112] = 6  # EXIF's orientation is ignored
    files = [
        check_image("frame", file(picture, quality=90)),
        check_image("frame", file(picture, exif=turned)),
        check_image("frame", file(picture, progressive=True)),
        check_image("frame", file(picture.convert("L"))),
        check_image("frame", file(picture) + b"\0\0"),
    ]
    for decoded, wanted in zip(on_cpu(files), map(read_image, files), strict=True):
        assert decoded.shape == wanted.shape
        assert (decoded.int() - wanted.int()).abs().max() <= 2


def test_what_is_no_whole_jpeg_file_is_left_to_pillow(on_cpu, picture):
    whole = file(picture)
    files = [
        check_image("frame", file(picture, "PNG")),
        check_image("frame", whole),
        check_image("cut off", whole[: len(whole) // 2]),
    ]
    png, jpeg, cut = on_cpu(files)
    assert png is None
    assert jpeg is not None
    assert cut is None
    with pytest.raises(InvalidRequest, match="cut off must be a readable JPEG"):
        read_image(files[2])


@pytest.mark.parametrize("size", [(1080, 1920), (270, 480)])
def test_resizing_in_float_stays_within_two_levels_of_the_reference(size, picture):
    image = torch.from_numpy(np.asarray(picture.resize(size[::-1], Image.Resampling.NEAREST)).transpose(2, 0, 1).copy())
    image[:, ::7] = 255 - image[:, ::7]  # edges
    target = smart_resize(*size, 163_840, 196_608)
    channels_last = image[None].contiguous(memory_format=torch.channels_last)
    reference = torch.nn.functional.interpolate(channels_last, target, mode="bicubic", antialias=True).int()
    found = resize_in_float(image[None].expand(2, -1, -1, -1), *target)
    assert torch.equal(found, found.round())
    assert torch.equal(found[0], found[1])
    difference = (found[0].int() - reference[0]).abs()
    assert difference.max() <= 2
    assert (difference == 0).float().mean() > 0.6
