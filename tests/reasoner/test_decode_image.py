"""JPEG and PNG files: what is read, and what is refused by name."""

import contextlib
import io

import numpy as np
import pytest
from contract import InvalidRequest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import PNG_START, chunk, compressed_text, encode, many_scans, of_another_kind, png
from PIL import Image
from reasoner.images import MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_SCANS, check_image, check_size, read_image

NAME = "encoded_frames[2, 1]"
RNG = np.random.default_rng(0)
# Smooth, so that a JPEG of it is close to it.
PIXELS = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 6, np.arange(64) * 4, 90), axis=-1).astype(np.uint8)


def decode_image(name: str, data: object) -> np.ndarray:
    """(height, width, 3)."""
    return read_image(check_image(name, data)).permute(1, 2, 0).numpy()


def refusal(data: object) -> str:
    with pytest.raises(InvalidRequest) as refused:
        decode_image(NAME, data)
    assert NAME in str(refused.value)
    return str(refused.value)


def test_png_is_read_exactly():
    decoded = decode_image(NAME, encode(Image.fromarray(PIXELS)))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, PIXELS)


def test_jpeg_is_read():
    decoded = decode_image(NAME, encode(Image.fromarray(PIXELS), "JPEG", quality=95, subsampling=0))
    assert decoded.shape == PIXELS.shape
    assert np.abs(decoded.astype(int) - PIXELS).max() < 12


def test_progressive_jpeg_is_read():
    decoded = decode_image(NAME, encode(Image.fromarray(PIXELS), "JPEG", quality=95, progressive=True))
    assert np.abs(decoded.astype(int) - PIXELS).mean() < 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_becomes_rgb(kind):
    grey = Image.fromarray(PIXELS[..., 0])
    decoded = decode_image(NAME, encode(grey, kind))
    assert decoded.shape == PIXELS.shape
    assert (decoded == decoded[..., :1]).all()
    assert np.abs(decoded[..., 0].astype(int) - PIXELS[..., 0]).max() <= (0 if kind == "PNG" else 4)


def test_palette_becomes_rgb():
    colors = np.array([[255, 0, 0], [0, 200, 0], [3, 4, 5]], dtype=np.uint8)
    indices = RNG.integers(0, 3, (40, 64))
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(colors.tobytes())
    assert np.array_equal(decode_image(NAME, encode(image)), colors[indices])


def test_a_palette_that_is_not_there_is_refused():
    """Pillow would make up one."""
    assert "mode P without its palette" in refusal(png(64, 40, 8, 3, bytes(40 * 65)))


def test_exif_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to look at
    for kind in ("JPEG", "PNG"):
        image = Image.fromarray(PIXELS)
        turned = decode_image(NAME, encode(image, kind, exif=exif))
        assert np.array_equal(turned, decode_image(NAME, encode(image, kind)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_refused(mode):
    assert f"mode {mode}" in refusal(encode(Image.fromarray(PIXELS).convert(mode)))


@pytest.mark.parametrize(("mode", "transparent"), [("RGB", (255, 0, 0)), ("L", 3), ("P", 0)])
def test_a_transparent_colour_is_refused(mode, transparent):
    image = Image.fromarray(PIXELS).convert(mode)
    assert "transparency" in refusal(encode(image, transparency=transparent))


def test_16_bit_grey_is_refused():
    message = refusal(encode(Image.fromarray(np.zeros((40, 64), dtype=np.uint16))))
    assert "16 bits" in message
    assert "wanted 8-bit RGB or grey" in message


def test_16_bit_rgb_is_refused():
    """Pillow would hand it over as 8-bit RGB without a word."""
    data = png(64, 40, 16, 2, bytes(40 * (1 + 64 * 6)))
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    assert "16 bits" in refusal(data)


def test_cmyk_is_refused():
    assert "mode CMYK" in refusal(encode(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused(kind):
    assert "must be a readable JPEG or PNG" in refusal(encode(Image.fromarray(PIXELS), kind))


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_no_image_at_all_is_refused(data):
    message = refusal(data)
    assert "must be a readable JPEG or PNG" in message
    assert f"{len(data)} bytes" in message


@pytest.mark.parametrize("data", [None, "text", 7, np.zeros(3, np.uint8)])
def test_what_is_not_bytes_is_refused(data):
    assert f"got {type(data).__name__}" in refusal(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind, kept):
    noise = Image.fromarray(RNG.integers(0, 256, (40, 64, 3), dtype=np.uint8))
    data = encode(noise, kind)
    assert "must be a readable JPEG or PNG" in refusal(data[: int(len(data) * kept)])


@given(st.data())
@settings(deadline=None, max_examples=150, derandomize=True)
def test_broken_files_are_refused_or_read_and_nothing_else(data):
    file = bytearray(encode(Image.fromarray(PIXELS), data.draw(st.sampled_from(["PNG", "JPEG"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidRequest):
        decoded = decode_image(NAME, bytes(file))
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 3
        assert decoded.shape[2] == 3


@pytest.mark.parametrize(("width", "height"), [(31, 64), (64, 31), (1, 1), (8193, 64), (64, 8193), (32, 6432)])
def test_sizes_out_of_range_are_refused(width, height):
    message = refusal(encode(Image.new("RGB", (width, height))))
    assert f"{width} x {height}" in message
    assert "32 .. 8192" in message
    assert "200 : 1" in message


@pytest.mark.parametrize(("width", "height"), [(9000, 9000), (8193, 8192), (2_000_000, 32)])
def test_a_large_size_is_refused_from_the_header_alone(width, height):
    """There is nothing to decode: whoever tries complains of that."""
    assert f"{width} x {height}" in refusal(png(width, height, 8, 2, None))


def test_a_size_that_pillow_itself_takes_for_an_attack_is_refused():
    assert "pixels" in refusal(png(2**31 - 1, 2**31 - 1, 8, 2, None))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 6400), (8192, 41), (8192, 8192)])
def test_sizes_in_range_are_allowed(height, width):
    check_size(NAME, height, width)


def test_the_smallest_image_is_read():
    assert decode_image(NAME, encode(Image.new("RGB", (32, 32)))).shape == (32, 32, 3)


def test_one_bit_is_black_and_white():
    image = Image.fromarray(PIXELS[..., 0] > 100)
    assert image.mode == "1"
    assert np.array_equal(decode_image(NAME, encode(image)), np.where(PIXELS[..., :1] > 100, 255, 0).repeat(3, axis=-1))


def test_what_is_broken_behind_its_header_is_refused_when_it_is_read():
    file = encode(Image.fromarray(PIXELS))
    checked = check_image(NAME, file[: len(file) // 2])
    with pytest.raises(InvalidRequest, match="readable JPEG or PNG file"):
        read_image(checked)


def test_a_bomb_is_measured_by_its_header():
    with pytest.raises(InvalidRequest, match=r"60000 x 60000 pixels; wanted sides of 32 \.\. 8192"):
        check_image(NAME, png(60000, 60000, 8, 2, b""))


ROWS = bytes(40 * (1 + 64 * 3))


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("bomb", [compressed_text(50_000_000), compressed_text(1_000_000) * 70], ids=["one", "many"])
def test_text_that_inflates_is_refused_or_left_alone(where, bomb):
    file = png(64, 40, 8, 2, ROWS, **{where: bomb})
    assert len(file) < 80_000
    with contextlib.suppress(InvalidRequest):
        assert not decode_image(NAME, file).any()


def test_more_pixels_than_the_header_says_are_left_alone():
    assert decode_image(NAME, png(64, 40, 8, 2, ROWS + bytes(50_000_000))).shape == (40, 64, 3)


def test_fewer_pixels_than_the_header_says_are_refused():
    assert "truncated" in refusal(png(64, 40, 8, 2, ROWS[:-1]))


def test_a_jpeg_of_many_scans_is_refused():
    """Each is a pass over all pixels: ten thousand of them, in a megabyte, take minutes."""
    image = Image.fromarray(PIXELS)
    most = MAX_SCANS - encode(image, "JPEG", progressive=True).count(b"\xff\xda")
    assert decode_image(NAME, many_scans(image, most)).shape == (40, 64, 3)
    assert f"{MAX_SCANS + 1} scans; wanted at most {MAX_SCANS}" in refusal(many_scans(image, most + 1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_header_of_a_megabyte_is_refused(kind):
    padding = {"PNG": chunk(b"abCd", b""), "JPEG": b"\xff\xfe\x00\x02"}[kind]
    start = {"PNG": len(PNG_START) + 25, "JPEG": 2}[kind]
    file = encode(Image.fromarray(PIXELS), kind)
    padded = file[:start] + padding * (MAX_HEADER_BYTES // len(padding)) + file[start:]
    assert "must be a readable JPEG or PNG" in refusal(padded)
    some = file[:start] + padding * 1000 + file[start:]
    assert np.array_equal(decode_image(NAME, some), decode_image(NAME, file))


def test_a_huge_file_is_refused():
    file = encode(Image.fromarray(PIXELS))
    check_image(NAME, file + bytes(MAX_FILE_BYTES - len(file)))
    assert f"{MAX_FILE_BYTES + 1} bytes; wanted at most {MAX_FILE_BYTES}" in refusal(
        file + bytes(MAX_FILE_BYTES + 1 - len(file))
    )


@pytest.mark.parametrize("kind", ["PNG", "MPO"])
def test_several_pictures_in_one_file_are_refused(kind):
    image = Image.fromarray(PIXELS)
    more = [Image.fromarray(255 - PIXELS)] * 2
    assert "holds 3 pictures; wanted one" in refusal(encode(image, kind, save_all=True, append_images=more))


def test_an_interlaced_png_is_read():
    rows = np.concatenate([np.zeros((40, 1), np.uint8), PIXELS.reshape(40, -1)], axis=1).tobytes()
    assert np.array_equal(decode_image(NAME, png(64, 40, 8, 2, rows)), PIXELS)
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]  # Adam7
    parts = [PIXELS[y::dy, x::dx] for y, dy, x, dx in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    assert np.array_equal(decode_image(NAME, png(64, 40, 8, 2, rows, interlaced=True)), PIXELS)


def test_a_jpeg_of_12_bits_is_refused():
    assert "must be a readable JPEG" in refusal(of_another_kind(encode(Image.fromarray(PIXELS), "JPEG"), 0xC1, 12))


@pytest.mark.parametrize("start_of_frame", [0xC3, 0xC5, 0xC7, 0xC9, 0xCB])
def test_a_jpeg_that_is_coded_otherwise_than_it_says_is_refused_or_read(start_of_frame):
    with contextlib.suppress(InvalidRequest):
        decode_image(NAME, of_another_kind(encode(Image.fromarray(PIXELS), "JPEG"), start_of_frame))
