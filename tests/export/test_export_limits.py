"""Sizes and server flags that follow from the repository's limits."""

import json

import pytest
from alpamayo_export.errors import ExportError
from alpamayo_export.limits import USUAL_ASPECT, KvCache, Limits, max_kv_tokens, tritonserver_flags
from contract import MAX_IMAGE_ASPECT, MAX_IMAGE_SIDE, MIN_IMAGE_SIDE
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reasoner.images import smart_resize

PIXELS = (163_840, 196_608)  # released
MIN_SIDE, MAX_SIDE, MAX_ASPECT = 32, 8192, 200  # of an image


@pytest.mark.parametrize("name", ["max_images", "max_trajectories", "max_generation_length"])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_below_one_are_refused(name, value):
    with pytest.raises(ExportError, match=f"{name} must be at least 1, got {value}"):
        Limits(**{"max_images": 1, "max_trajectories": 1, "max_generation_length": 1, name: value})


@pytest.fixture(scope="module")
def image_room(repository) -> int:
    """Tokens that the denoiser's limit leaves for each of 16 images, with all thoughts at their longest."""
    denoiser = json.loads((repository / "alpamayo_denoiser" / "1" / "denoiser.json").read_text())
    text = 2871 - 16 * (10 * 17 + 2)  # greedy's prompt without its images
    start_and_end = 2
    return (denoiser["max_kv_tokens"] - 32 * 256 - text) // 16 - start_and_end


@given(st.integers(MIN_IMAGE_SIDE, MAX_IMAGE_SIDE), st.floats(1, MAX_IMAGE_ASPECT))
@settings(deadline=None, max_examples=300, derandomize=True)
@example(33, 150)
@example(32, 200)
def test_no_image_has_more_tokens_than_room_is_made_for(image_room, short, aspect):
    long = min(MAX_IMAGE_SIDE, int(short * aspect))
    for size in ((short, long), (long, short)):
        height, width = smart_resize(*size, *PIXELS)
        assert height * width // 32**2 <= image_room


def test_room_is_not_wasted(image_room):
    assert image_room < 2 * PIXELS[1] // 32**2


def test_kv_bytes_at_the_released_size():
    """144 KiB a token."""
    assert KvCache(layers=36, kv_heads=8, head_dim=128, max_tokens=1, precision="bf16").max_bytes == 144 * 1024
    assert KvCache(36, 8, 128, 3006, "fp32").max_bytes == 2 * 3006 * 144 * 1024


def test_server_flags():
    flags = tritonserver_flags(22 * 10**9, 443 * 10**6, gpu=True)
    assert "--backend-config=python,stub-timeout-seconds=280" in flags
    (pool,) = [flag for flag in flags if flag.startswith("--cuda-memory-pool-byte-size=0:")]
    assert int(pool.rpartition(":")[2]) >= 2 * 443 * 10**6
    assert not [flag for flag in tritonserver_flags(10**6, 10**6, gpu=False) if "cuda" in flag]


def test_the_pool_is_for_cameras_frames_and_the_limit_for_slivers_too():
    limits = Limits(16, 6, 256)
    usual = max_kv_tokens(limits, 130, *PIXELS, USUAL_ASPECT)
    assert usual < 0.75 * max_kv_tokens(limits, 130, *PIXELS)
    frames = (1080, 1920), (1080, 3840), (1920, 1080), (200, 800), (720, 1280), (416, 416)
    for size in frames:
        height, width = smart_resize(*size, *PIXELS)
        assert 130 + 16 * (height * width // 32**2 + 2) + 6 * 256 <= usual
