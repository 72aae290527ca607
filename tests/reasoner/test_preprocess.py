"""Image sizes and patches. That they equal the reference's is for the golden cases to say."""

import pytest
import torch
from contract import MAX_IMAGE_ASPECT, MAX_IMAGE_SIDE, MIN_IMAGE_SIDE
from hypothesis import given, settings
from hypothesis import strategies as st
from reasoner.images import preprocess, smart_resize

PIXELS = (163_840, 196_608)  # released
MIN_SIDE, MAX_SIDE, MAX_ASPECT = 32, 8192, 200


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1080, 1920), (320, 576)),  # shrunk: sqrt(1080 x 1920 / 196608) = 3.2476
        ((1920, 1080), (576, 320)),
        ((2160, 3840), (320, 576)),
        ((720, 1280), (320, 576)),
        ((120, 208), (320, 544)),  # grown: sqrt(163840 / (120 x 208)) = 2.562: 307.4, 532.9
        ((200, 300), (352, 512)),  # 330.5, 495.7
        ((360, 640), (320, 576)),
        ((320, 576), (320, 576)),  # as it is
        ((416, 416), (416, 416)),
        ((335, 590), (320, 576)),  # rounded to the nearest multiples, already within the limits
        ((32, 32), (416, 416)),  # 404.8
        ((8192, 8192), (416, 416)),  # 443.4
        ((32, 6400), (32, 6240)),  # shrunk to less than a cell high: held up, and so over the limit, as the reference
        ((33, 4950), (64, 4960)),  # grown by 0.15 %, to the next multiples
    ],
)
def test_smart_resize(size, wanted):
    assert smart_resize(*size, *PIXELS) == wanted


sides = st.integers(MIN_IMAGE_SIDE, MAX_IMAGE_SIDE)


@given(sides, sides)
@settings(deadline=None, max_examples=300, derandomize=True)
def test_smart_resize_keeps_its_bounds(height, width):
    new_height, new_width = smart_resize(height, width, *PIXELS)
    assert new_height % 32 == new_width % 32 == 0
    assert min(new_height, new_width) >= 32
    if max(height, width) <= 4 * min(height, width):
        assert new_height * new_width <= PIXELS[1]
        assert new_height * new_width >= PIXELS[0] * 0.75  # a cell less each way, for having been too large
        assert 0.7 < (new_height / new_width) / (height / width) < 1.4


@given(sides, st.floats(1, MAX_IMAGE_ASPECT))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_smart_resize_is_transformers_own(height, aspect):
    qwen = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    width = min(MAX_IMAGE_SIDE, int(height * aspect))
    assert smart_resize(height, width, *PIXELS) == qwen.smart_resize(height, width, 32, *PIXELS)
    assert smart_resize(width, height, *PIXELS) == qwen.smart_resize(width, height, 32, *PIXELS)


def images(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


@pytest.mark.parametrize(
    "sizes",
    [
        [(120, 208)] * 3,
        [(120, 208), (360, 640), (120, 208)],
        [(120, 208), (120, 208), (208, 120), (208, 120), (320, 576), (120, 208)],
    ],
)
def test_one_by_one_equals_all_together_in_their_order(sizes):
    together, grid = preprocess(images(*sizes), *PIXELS)
    alone = [preprocess([image], *PIXELS) for image in images(*sizes)]
    assert torch.equal(together, torch.cat([pixels for pixels, _ in alone]))
    assert torch.equal(grid, torch.cat([grid for _, grid in alone]))
    assert together.dtype == torch.float32
    assert len(together) == grid.prod(dim=1).sum()


def test_patches_are_transformers_own(checkpoint):
    """At the target size, where nothing is resized: Pillow resizes a little differently from torch."""
    qwen = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    processor = qwen.Qwen2VLImageProcessorPil.from_pretrained(checkpoint / "vlm")
    processor.size = {"shortest_edge": PIXELS[0], "longest_edge": PIXELS[1]}
    frames = images((320, 576), (576, 320), (416, 416))
    wanted = processor(images=[frame.permute(1, 2, 0).numpy() for frame in frames], return_tensors="pt")
    pixels, grid = preprocess(frames, *PIXELS)
    assert torch.equal(grid, wanted["image_grid_thw"])
    assert torch.equal(pixels, wanted["pixel_values"].float())


def test_where_a_pixel_goes():
    """Patches in cells of 2 x 2, cells row by row; in a patch channels, then the frame twice, then rows and columns."""
    image = torch.zeros(3, 320, 576, dtype=torch.uint8)
    channel, y, x = 1, 32 + 16 + 5, 64 + 3  # cell (1, 2), its lower left patch, pixel (5, 3)
    image[channel, y, x] = 255
    pixels, _ = preprocess([image], *PIXELS)
    lit = (pixels == 1).nonzero().tolist()
    patch = (1 * 18 + 2) * 4 + 2
    assert lit == [[patch, ((channel * 2 + frame) * 16 + 5) * 16 + 3] for frame in (0, 1)]
    assert (pixels == -1).sum() == pixels.numel() - 2


@pytest.mark.parametrize("level", [0, 1, 127, 128, 254, 255])
def test_normalisation(level):
    pixels, _ = preprocess([torch.full((3, 64, 64), level, dtype=torch.uint8)], *PIXELS)
    torch.testing.assert_close(pixels, torch.full_like(pixels, level / 127.5 - 1), rtol=0, atol=1e-6)


def test_resizing_stays_in_whole_levels():
    pixels, _ = preprocess(images((120, 208)), *PIXELS)
    levels = (pixels + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
