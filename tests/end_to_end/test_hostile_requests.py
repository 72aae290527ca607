"""What nobody sends by mistake: refused or answered in bounded time and memory, in few words, and nothing breaks."""

import json
import urllib.request
from urllib.error import HTTPError

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.utils.shared_memory as shared_memory
from image_files import chunk, compressed_text, encode, many_scans, of_another_kind, png
from PIL import Image
from tritonclient.utils import InferenceServerException

from .conftest import SMALL
from .live_server import until
from .refusals import (
    ACTIONS,
    FRAME,
    GIVEN_UP,
    GOOD,
    JPEG,
    NOISE,
    PACKED,
    PNG,
    ROT,
    XYZ,
    changed,
    encoded,
    int32,
    refuse,
    rotated,
)
from .wire import ask, files, json_body, picture, tensors, texts

ROWS = bytes(64 * (1 + 96 * 3))
RGB = Image.fromarray(np.moveaxis(FRAME, 0, -1))
NAME = "encoded_frames[0, 0]"

# fmt: off
FILES = {
    "text that inflates to 50 MB": (png(96, 64, 8, 2, ROWS, before=compressed_text(50_000_000)), "too large"),
    "text behind the pixels that inflates": (png(96, 64, 8, 2, ROWS, behind=compressed_text(50_000_000)), "too large"),
    "much text that inflates": (png(96, 64, 8, 2, ROWS, before=compressed_text(1_000_000) * 70), "Too much memory"),
    "a profile that inflates": (
        png(96, 64, 8, 2, ROWS, before=compressed_text(50_000_000).replace(b"zTXt", b"iCCP")), "JPEG or PNG"),
    "a header of 2^31 pixels a side": (png(2**31 - 1, 2**31 - 1, 8, 2, b""), "2147483647 x 2147483647"),
    "a header of 60000 pixels a side": (png(60_000, 60_000, 1, 0, b""), "60000 x 60000", "32 .. 8192"),
    "a header of no pixels": (png(0, 0, 8, 2, b""), "JPEG or PNG"),
    "the largest header and no pixels": (png(8192, 8192, 8, 2, b""), "truncated"),
    "a JPEG of 65535 pixels a side": (
        JPEG.replace(b"\x00\x40\x00\x60", b"\xff\xff\xff\xff", 1), "65535 x 65535", "32 .. 8192"),
    "16-bit RGB": (png(96, 64, 16, 2, bytes(64 * (1 + 96 * 6))), "16 bits", "8-bit"),
    "a palette with transparency": (picture(FRAME, mode="P", transparency=0), "transparency", "without alpha"),
    "a transparent colour": (picture(FRAME, transparency=(1, 2, 3)), "transparency", "without alpha"),
    "a palette that is not there": (png(96, 64, 8, 3, bytes(64 * 97)), "mode P without its palette"),
    "a JPEG of a thousand scans": (many_scans(RGB, 1000), "scans", "at most 100"),
    "a JPEG of 12 bits": (of_another_kind(JPEG, 0xC1, 12), "JPEG or PNG"),
    "a lossless JPEG": (of_another_kind(JPEG, 0xC3), "JPEG or PNG"),
    "YCCK": (
        encode(RGB.convert("CMYK"), "JPEG").replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2"), "CMYK", "RGB"),
    "two megabytes of comments": (JPEG[:2] + b"\xff\xfe\x00\x02" * 500_000 + JPEG[2:], "JPEG or PNG"),
    "two megabytes of empty chunks": (PNG[:33] + chunk(b"abCd", b"") * 170_000 + PNG[33:], "JPEG or PNG"),
    "34 megabytes": (PNG + bytes(34_000_000), "at most 33554432"),
    "an animation": (encode(RGB, save_all=True, append_images=[RGB.rotate(180)]), "2 pictures", "wanted one"),
    "a stereo JPEG": (encode(RGB, "MPO", save_all=True, append_images=[RGB.rotate(180)]), "2 pictures", "wanted one"),
    "a JPEG cut in its header": (JPEG[:100], "100 bytes", "JPEG or PNG"),
    "a JPEG without its last quarter": (JPEG[: len(JPEG) * 3 // 4], "JPEG or PNG"),
    "a PNG without its last quarter": (PNG[: len(PNG) * 3 // 4], "JPEG or PNG"),
    "GIF": (encode(RGB, "GIF"), "47 49 46 38", "JPEG or PNG"),
    "WebP": (encode(RGB, "WEBP"), "52 49 46 46", "JPEG or PNG"),
    "TIFF": (encode(RGB, "TIFF"), "49 49 2a 00", "JPEG or PNG"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>", "3c 73 76 67", "JPEG or PNG"),
    "HTML": (b"<!DOCTYPE html><title>404</title>", "3c 21 44 4f", "JPEG or PNG"),
    "a path": (b"/etc/passwd\0.png", "2f 65 74 63", "JPEG or PNG"),
}

MEGABYTE = "x" * 1_000_000
NAMES = {
    "a parameter's name of a megabyte": ({}, {MEGABYTE: 1}, "unknown request parameter 'xxx", "1000002 characters"),
    "a parameter's text of a megabyte": ({}, {"seed": MEGABYTE}, "seed", "'xxx", "(str)"),
    "a name of quotes": ({}, {'a"b\'\n\\{}': 1}, "unknown request parameter", "known are"),
    "a name in Chinese": ({}, {"温度" * 1000: 1}, "unknown request parameter '温度", "known are"),
    "no name": ({}, {"": 1}, "unknown request parameter ''", "known are"),
    "a thousand names": ({}, {f"p{i}": 1 for i in range(1000)}, "unknown request parameter 'p", "known are"),
}
SCENES = {
    "a thought of four megabytes": ({"reasoning": texts(b"a b " * 1_000_000)}, {}, "reasoning[0]", "4000000 bytes"),
    "a thought of special tokens": ({"reasoning": texts(b"<|cot_end|>" * 200)}, {}, "reasoning[0]", "plain text"),
    "half a character": ({"reasoning": texts("…".encode()[:2])}, {}, "reasoning[0]", "UTF-8"),
    "a position that is huge": ({"ego_history_xyz": changed(XYZ, (3, 1), 3e38)}, {}, "ego_history_xyz", "3e+38 m"),
    "the last position huge": ({"ego_history_xyz": changed(XYZ, (15, 0), -3e38)}, {}, "ego_history_xyz[-1]", "origin"),
    "a rotation that is huge": ({"ego_history_rot": changed(ROT, (3, 1, 1), 3e38)}, {}, "ego_history_rot", "at [3]"),
    "a rotation of denormals": ({"ego_history_rot": changed(ROT, 4, 1e-42)}, {}, "ego_history_rot", "at [4]"),
    "positions mirrored": ({"ego_history_xyz": XYZ * np.float32([1, -1, 1])}, {}, "ego_history_rot", "transposed"),
    "x to the right, y forward": (
        {"ego_history_xyz": XYZ @ rotated(90).T, "ego_history_rot": rotated(90) @ ROT}, {}, "ego_history_rot[-1]"),
    "noise beyond all measure": ({"noise": changed(NOISE, (0, 5, 1), -3e38)}, {}, "noise", "+-100"),
    "a temperature beyond all measure": ({}, {"temperature": -1e308}, "temperature", "-1e+308"),
    "a seed of 64 bits": ({}, {"seed": 2**63 - 1}, "seed", "9223372036854775807"),
}
DENOISER = {
    "a cache that overflows": ({"kv_cache": np.full_like(PACKED["kv_cache"], 1e38)}, "kv_cache", "1e+38", "+-1e+06"),
    "one number that overflows": ({"kv_cache": changed(PACKED["kv_cache"], (3, 1, 1, 9, 9), -3e38)}, "kv_cache", "-3e"),
    "another network's checksum": ({"kv_checksum": np.zeros((3, 2), np.int64)}, "kv_checksum", "(3, 2)", "(4, 2)"),
    "rows of nobody only": ({"kv_owner": int32(*[-2] * 40)}, "kv_owner", "prompt"),
    "an owner of all bits": ({"kv_owner": changed(PACKED["kv_owner"], 3, 2**31 - 1)}, "kv_owner", "2147483647"),
    "two deadlines": ({"deadline_ns": np.array([1, 2])}, "deadline_ns", "[2]", "[1]"),
}
UNICYCLE = {
    "33 trajectories": (
        {"normalized_action": np.zeros((33, 64, 2), np.float32), "action_owner": np.arange(33, dtype=np.int32)},
        "normalized_action", "33 trajectories", "at most 32"),
    "a hundred thousand trajectories": (
        {"normalized_action": np.zeros((100_000, 64, 2), np.float32), "action_owner": np.zeros(100_000, np.int32)},
        "normalized_action", "100000 trajectories", "at most 32"),
    "the largest accelerations": (
        {"normalized_action": np.full((6, 64, 2), 3.4e38, np.float32)}, "normalized_action", "3.4e+38"),
    "positions that are huge": ({"ego_history_xyz": changed(XYZ, (3, 1), 3e38)}, "ego_history_xyz", "3e+38 m"),
}
IDS = {
    "an id of a megabyte": (MEGABYTE.encode(), "request_id", "1000000", "at most 256 bytes"),
    "an id of NULs": (bytes(36), "request_id", r"\x00", "no NUL"),
    "an id of no UTF-8": (b"\xff" * 256, "request_id", r"\xff", "UTF-8"),
    "an id of surrogates": (b"\xed\xa0\x80" * 16, "request_id", r"\xed\xa0\x80", "UTF-8"),
}
# fmt: on
WHOLE = {
    "alpamayo": GOOD,
    "alpamayo_reasoner": GOOD,
    "alpamayo_denoiser": PACKED,
    "alpamayo_unicycle": ACTIONS,
    "alpamayo_cancel": GIVEN_UP,
}
REFUSED = {
    **{name: ("alpamayo", encoded(file), {}, NAME, *words) for name, (file, *words) in FILES.items()},
    **{
        f"{name}, {model}": (model, *case)
        for name, case in SCENES.items()
        for model in ("alpamayo", "alpamayo_reasoner")
    },
    **{f"{name}, {model}": (model, *case) for name, case in NAMES.items() for model in WHOLE},
    **{name: ("alpamayo_denoiser", inputs, {}, *words) for name, (inputs, *words) in DENOISER.items()},
    **{name: ("alpamayo_unicycle", inputs, {}, *words) for name, (inputs, *words) in UNICYCLE.items()},
    **{name: ("alpamayo_cancel", {"request_id": texts(it)}, {}, *words) for name, (it, *words) in IDS.items()},
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(triton, assert_still_serving, name):
    model, inputs, parameters, *words = REFUSED[name]
    refuse(triton, words, WHOLE[model] | inputs, parameters, model=model)
    assert_still_serving()


OPTIONAL = {
    "alpamayo": {"noise": NOISE, "reasoning": texts(b"a")},
    "alpamayo_reasoner": {"encoded_frames": files(PNG)},
    "alpamayo_denoiser": {"kv_checksum": np.zeros((4, 2), np.int64), "deadline_ns": np.array([2**62])},
    "alpamayo_unicycle": {},
    "alpamayo_cancel": {},
}


@pytest.mark.parametrize("model", WHOLE)
def test_every_input_empty_along_every_axis(triton, assert_still_serving, model):
    whole = WHOLE[model] | OPTIONAL[model]
    for name, array in whole.items():
        for axis in range(array.ndim):
            empty = array.take([], axis=axis)
            inputs = whole | {name: empty}
            if name == "encoded_frames":
                inputs["image_frames"] = None
            refuse(triton, [name], inputs, model=model)
    assert_still_serving()


def test_the_largest_picture_in_the_fewest_bytes(triton, assert_still_serving):
    """8 kB that are 201 MB: allowed, and bounded. A deadline is noticed between two of them."""
    file = png(8192, 8192, 1, 0, bytes(8192 * (1 + 8192 // 8)))
    assert len(file) < 10_000
    got = ask(triton, GOOD | encoded(file), SMALL)
    assert np.isfinite(got["pred_xyz"]).all()
    with pytest.raises(InferenceServerException, match="deadline_ms is spent"):
        ask(triton, GOOD | encoded(*[file] * 16), SMALL | {"deadline_ms": 500})
    assert_still_serving()


@pytest.mark.parametrize(("offset", "size"), [(192, 192), (2**40, 192), (-1, 192), (100, 192), (0, 2**62), (0, 100)])
def test_shared_memory_beyond_its_region(triton, assert_still_serving, offset, size):
    name = f"history_{offset}_{size}"
    region = shared_memory.create_shared_memory_region(name, f"/alpamayo_test_{name}", XYZ.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [XYZ])
        triton.register_system_shared_memory(name, f"/alpamayo_test_{name}", XYZ.nbytes)
        positions = grpcclient.InferInput("ego_history_xyz", [16, 3], "FP32")
        positions.set_shared_memory(name, size, offset=offset)
        others = tensors({name: array for name, array in GOOD.items() if name != "ego_history_xyz"})
        with pytest.raises(InferenceServerException) as refusal:
            triton.infer("alpamayo", [positions, *others])
        assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT", refusal.value
    finally:
        until(lambda: is_unregistered(triton, name), "Triton, which holds it a moment longer than the call")
        shared_memory.destroy_shared_memory_region(region)
    assert_still_serving()


def is_unregistered(triton, region) -> bool:
    try:
        triton.unregister_system_shared_memory(region)
    except InferenceServerException as error:
        if "in use" in str(error):
            return False
        raise
    return True


def test_refusals_leave_no_shared_memory_behind(triton, server, assert_still_serving):
    """A frame of 3 MB that stayed each time would be 90 MB: more than a stub has room for before it grows."""
    frames = np.zeros((1, 1, 3, 1000, 1000), np.uint8)
    bad = GOOD | {"image_frames": frames, "ego_history_xyz": XYZ + np.float32(1)}

    def held_after(refusals):
        for _ in range(refusals):
            refuse(triton, ["ego_history_xyz"], bad)
        return server.shared_memory_bytes()

    before = held_after(3)
    assert before > 0
    assert held_after(30) == before
    assert_still_serving()


def error_over_http(server, content: bytes, headers=None) -> str:
    request = urllib.request.Request(f"http://{server.http}/v2/models/alpamayo/infer", content, headers or {})
    with pytest.raises(HTTPError) as refusal:
        urllib.request.urlopen(request)
    assert refusal.value.code == 400
    return json.load(refusal.value)["error"]


# fmt: off
OVER_HTTP = {
    "not a number": ({"temperature": float("nan")}, (b"", b""), "temperature"),
    "a number of 30 digits": ({"seed": 10**30}, (b"", b""), "seed"),
    "nothing": ({"seed": None}, (b"", b""), "seed"),
    "a list": ({"seed": [1]}, (b"", b""), "seed"),
    "text that is no UTF-8": ({"seed": "QQQ"}, (b"QQQ", b"\xff\xfe\xff"), "request parameters must be UTF-8"),
    "a name that is no UTF-8": ({"QQQ": 1}, (b"QQQ", b"\xff\xfe\xff"), "request parameters must be UTF-8"),
    "a name of a megabyte": ({MEGABYTE: 1}, (b"", b""), "1000002 characters"),
    "a name of Triton's": ({"triton_x": 1}, (b"", b""), "triton_"),
}
# fmt: on


@pytest.mark.parametrize("name", OVER_HTTP)
def test_parameter_over_http(server, small_scene, assert_still_serving, name):
    parameters, (sent, instead), words = OVER_HTTP[name]
    content = json.dumps(json_body(small_scene, SMALL | parameters)).encode()
    message = error_over_http(server, content.replace(sent, instead) if sent else content)
    assert words in message
    assert len(message) < 1000
    assert_still_serving()


def test_tensors_over_http(server, small_scene, assert_still_serving):
    infinite = json.dumps(json_body(small_scene | {"ego_history_xyz": changed(XYZ, (0, 0), 7777)}, SMALL)).encode()
    assert "ego_history_xyz must be finite; got inf" in error_over_http(server, infinite.replace(b"7777.0", b"1e39"))
    assert_still_serving()


def test_binary_tensors_over_http(server, small_scene, assert_still_serving):
    head = json_body(small_scene, SMALL)
    for tensor in head["inputs"]:
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": small_scene[tensor["name"]].nbytes}
    content = json.dumps(head).encode()
    arrays = b"".join(small_scene[tensor["name"]].tobytes() for tensor in head["inputs"])
    for cut, size in ((len(arrays) - 1, len(content)), (len(arrays), 10**9), (0, len(content))):
        error_over_http(server, content + arrays[:cut], {"Inference-Header-Content-Length": str(size)})
    assert_still_serving()
