"""Frames as JPEG files."""

import io
import sys
from itertools import chain

import numpy as np
import PIL.Image
import pytest
from alpamayo_client import InvalidRequestError, encode_jpeg


def test_files_are_the_frames(frames):
    files = encode_jpeg(frames)
    assert [len(camera) for camera in files] == [3, 3]
    for file, frame in zip(chain(*files), frames.reshape(-1, 3, 32, 48), strict=True):
        image = PIL.Image.open(io.BytesIO(file))
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).transpose(2, 0, 1).astype(int) - frame).max() <= 1


def test_quality_costs_bytes():
    frames = np.random.default_rng(0).integers(0, 256, (1, 1, 3, 64, 96), dtype=np.uint8)
    sizes = [len(encode_jpeg(frames, quality)[0][0]) for quality in (1, 50, np.int64(95))]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("quality", [0, 96, 50.0, True, "90"])
def test_refused_quality(frames, quality):
    with pytest.raises(InvalidRequestError, match="quality: got"):
        encode_jpeg(frames, quality)


def test_refused_frames(frames, encoded):
    with pytest.raises(InvalidRequestError, match="wanted an array of pixels"):
        encode_jpeg(encoded)
    with pytest.raises(InvalidRequestError, match="wanted uint8 RGB"):
        encode_jpeg(frames[0])


def test_without_pillow(frames, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"pip install '\./client\[jpeg\]'"):
        encode_jpeg(frames)
